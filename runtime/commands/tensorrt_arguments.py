"""Switches of engines that TensorRT runs, for every command that runs a bundle."""

import argparse

from glus_edge.runtime.device.open_cuda import IMPLEMENTATIONS
from glus_edge.runtime.tensorrt.engine import TensorRtOptions

_DEFAULTS = TensorRtOptions()


def add_tensorrt_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument(
        "--no-cuda-graphs",
        dest="cuda_graphs",
        action="store_false",
        help="TensorRT: enqueue every run anew instead of replaying those that recur",
    )
    parser.add_argument(
        "--host-pixels",
        dest="device_pixels",
        action="store_false",
        help="TensorRT: make the pixels of the image towers on the host, and upload them",
    )
    parser.add_argument(
        "--cuda", choices=IMPLEMENTATIONS, default=_DEFAULTS.cuda, help="CUDA from Python (default: %(default)s)"
    )


def tensorrt_from_arguments(arguments: argparse.Namespace) -> TensorRtOptions:
    """The options `add_tensorrt_arguments` asked for; the library is that of --backend."""
    return TensorRtOptions(
        cuda=arguments.cuda, cuda_graphs=arguments.cuda_graphs, device_pixels=arguments.device_pixels
    )
