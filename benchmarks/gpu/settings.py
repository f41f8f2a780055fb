"""What the GPU benchmark is asked for."""

import math
from dataclasses import dataclass
from pathlib import Path

from glus_edge.export.synthetic.sizes import SIZES
from glus_edge.runtime.bundle.signatures import GRAPHS
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.tensorrt.library import LIBRARIES

TORCH, ONNXRUNTIME = "torch", "onnxruntime-cuda"
BACKENDS = (TORCH, *LIBRARIES, ONNXRUNTIME)  # in the order they are run
WEIGHTS = ("int4", "int8", "fp16")  # of the language model's matrices
# What takes longest to compile and most of a frame comes first.
ORDER = ("language_model", "image_encoder", "memory_attention", "clip_encoder", "mask_decoder", "memory_encoder")


@dataclass(frozen=True)
class GpuBenchSettings:
    """What is measured; the command line's defaults. InputError: a value that cannot be."""

    bundle: Path | None = None  # None: random weights of `size`
    size: str = "glus-7b"  # of SIZES
    weights: str = "int4"  # of the language model's matrices, where they are random
    frames: int = 2  # of the video whose inputs are recorded, with a bundle
    graphs: tuple[str, ...] = ORDER
    backends: tuple[str, ...] = BACKENDS
    seconds: float = 300  # what it may take in all

    def __post_init__(self) -> None:
        for option, value, choices in (
            ("--size", (self.size,), tuple(SIZES)),
            ("--weights", (self.weights,), WEIGHTS),
            ("--graph", self.graphs, GRAPHS),
            ("--backend", self.backends, BACKENDS),
        ):
            for each in value:
                if each not in choices:
                    raise InputError(f"{option}: got {each!r}, expected one of {', '.join(choices)}")
        for option, number in (("--frames", self.frames), ("--seconds", self.seconds)):
            if not 0 < number < math.inf:
                raise InputError(f"{option}: got {number}, expected more than 0")

    @property
    def whole(self) -> bool:
        """Whether whole frames can be run: no graph is left out."""
        return set(self.graphs) == set(ORDER)

    @property
    def model(self) -> str:
        """What a reader of the record is told about the model."""
        return str(self.bundle) if self.bundle else f"{self.size}, random weights, language model in {self.weights}"
