"""Arguments that several commands share: which bundle, which loop rules, which engines, how to reconnect."""

import argparse
import sys
from pathlib import Path

from glus_edge.runtime.backends.onnxruntime_cuda import OnnxRuntimeCudaOptions
from glus_edge.runtime.backends.onnxruntime_session import OnnxRuntimeOptions
from glus_edge.runtime.backends.openvino_engine import PRECISIONS as OPENVINO_PRECISIONS
from glus_edge.runtime.backends.openvino_engine import OpenVinoOptions
from glus_edge.runtime.bundle.shipped import shipped_bundle
from glus_edge.runtime.device.open_cuda import IMPLEMENTATIONS
from glus_edge.runtime.open_backend import BACKENDS, SegmenterOptions
from glus_edge.runtime.policies.loop_rules import PRESETS, LoopChoice, loop_choice
from glus_edge.runtime.policies.lost_target import LOST_RULES
from glus_edge.runtime.policies.memory_rule import PARTS, REFERENCE
from glus_edge.runtime.policies.named_rule import rule_pattern
from glus_edge.runtime.policies.refresh import RULES
from glus_edge.runtime.policies.window import WINDOW_POLICIES
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.tensorrt.engine import TensorRtOptions

LIVE_POLICY = "window"  # of live video, where neither a preset nor a policy is given
_DEFAULTS = SegmenterOptions()


def add_bundle_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --bundle."""
    parser.add_argument(
        "--bundle", type=Path, help="a folder made by `glus-edge export` (default: the small GLUS that ships)"
    )


def add_stream_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --stream."""
    parser.add_argument(
        "--stream",
        type=int,
        metavar="N",
        help="which picture stream of the file, by its number as ffprobe shows it (default: the file's default, else the "
        "largest)",
    )


def bundle_from_arguments(arguments: argparse.Namespace) -> Path:
    """The bundle asked for. BundleError: none was, and none ships with this installation."""
    return arguments.bundle if arguments.bundle is not None else shipped_bundle()


def add_loop_arguments(parser: argparse.ArgumentParser, *, live: bool = False, several_policies: bool = False) -> None:
    """Adds --preset, --policy, --refresh, --memory and --lost.

    `live`: the default is not the preset `exact`. `several_policies`: --policy is a list of one or more.
    """
    parts = "; ".join(
        f"{name} = {choice.policy}, {choice.refresh}, {choice.memory}, {choice.lost}"
        for name, choice in PRESETS.items()
    )
    usual = f"exact, with --policy {LIVE_POLICY}" if live else "exact"
    parser.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        default=None if live else "exact",
        help=f"the four rules below at once, each of which may be given by itself: {parts} (default: {usual})",
    )
    several = "; several are compared" if several_policies else ""
    parser.add_argument(
        "--policy", choices=WINDOW_POLICIES, nargs="+" if several_policies else None, help=f"query window{several}"
    )
    refresh = ", ".join(rule_pattern(name, rule) for name, rule in RULES.items())
    parser.add_argument("--refresh", metavar="RULE", help=f"when the language model is asked: {refresh}")
    parser.add_argument(
        "--memory",
        metavar="RULE",
        help=f"which frames' memories are kept: {REFERENCE}, or parts joined by +: {', '.join(PARTS)}",
    )
    parser.add_argument("--lost", choices=tuple(LOST_RULES), help="what becomes of masks when the object is gone")


def choice_from_arguments(arguments: argparse.Namespace) -> LoopChoice:
    """The rules that `add_loop_arguments` asked for."""
    preset, policy = arguments.preset, arguments.policy
    if preset is None:
        preset, policy = "exact", policy or LIVE_POLICY
    return loop_choice(preset, policy, arguments.refresh, arguments.memory, arguments.lost)


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of every command that runs a bundle."""
    runtime = _DEFAULTS.onnxruntime
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default=_DEFAULTS.backend,
        help="what runs the graphs; auto: engines built for this GPU, else onnxruntime-cuda, else openvino where it is "
        "installed and faster here, else onnxruntime; one that is named never becomes another (default: %(default)s)",
    )
    parser.add_argument(
        "--openvino-precision",
        choices=tuple(OPENVINO_PRECISIONS),
        default=_DEFAULTS.openvino.precision,
        help="of the products of --backend openvino (default: %(default)s)",
    )
    parser.add_argument("--threads", type=int, default=runtime.threads, help="0: every usable core (default)")
    parser.add_argument(
        "--int4-accuracy",
        type=int,
        choices=(1, 4),
        default=runtime.int4_accuracy,
        help="int4 products: 1 in float32, 4 with activations in int8, faster and about 0.005 off (default: %(default)s)",
    )
    parser.add_argument(
        "--int8-accuracy",
        type=int,
        choices=(1, 4),
        default=runtime.int8_accuracy,
        help="the same for int8 matrices (default: %(default)s)",
    )
    parser.add_argument(
        "--no-cuda-graphs",
        dest="cuda_graphs",
        action="store_false",
        help="on a GPU: enqueue every run anew instead of replaying those that recur",
    )
    parser.add_argument(
        "--host-pixels",
        dest="device_pixels",
        action="store_false",
        help="on a GPU: make the pixels of the image towers on the host, and upload them",
    )
    parser.add_argument(
        "--cuda",
        choices=IMPLEMENTATIONS,
        default=_DEFAULTS.tensorrt.cuda,
        help="CUDA from Python (default: %(default)s)",
    )
    parser.add_argument(
        "--fpa-intb-gemm",
        action="store_true",
        help="onnxruntime-cuda: int4 products by the kernel that multiplies float16 with packed integers",
    )


def options_from_arguments(arguments: argparse.Namespace) -> SegmenterOptions:
    """The options `add_engine_arguments` asked for."""
    runtime = OnnxRuntimeOptions(arguments.threads, arguments.int4_accuracy, arguments.int8_accuracy)
    openvino = OpenVinoOptions(arguments.openvino_precision, arguments.threads)
    tensorrt = TensorRtOptions(
        cuda=arguments.cuda, cuda_graphs=arguments.cuda_graphs, device_pixels=arguments.device_pixels
    )
    onnxruntime_cuda = OnnxRuntimeCudaOptions(
        cuda=arguments.cuda,
        cuda_graphs=arguments.cuda_graphs,
        device_pixels=arguments.device_pixels,
        fpa_intb_gemm=arguments.fpa_intb_gemm,
        session=runtime,
    )
    return SegmenterOptions(arguments.backend, runtime, tensorrt, openvino, onnxruntime_cuda)


def opened_segmenter(bundle: Path, options: SegmenterOptions) -> Segmenter:
    """`Segmenter.open`, which says on stderr what 'auto' came to, and why."""
    segmenter = Segmenter.open(bundle, options)
    print_choice(segmenter)
    return segmenter


def print_choice(segmenter: Segmenter) -> None:
    """Says on stderr which backend was chosen, and why; nothing where it was asked for by name."""
    if segmenter.choice.automatic:
        print(segmenter.choice.line, file=sys.stderr, flush=True)


def add_reconnect_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --reconnect."""
    parser.add_argument(
        "--reconnect",
        type=float,
        default=60.0,
        metavar="S",
        help="seconds for which a camera or stream that was lost is sought again; 0: not at all (default: %(default)g)",
    )
