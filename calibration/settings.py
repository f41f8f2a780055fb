"""What a calibration is told; the defaults are those of the command line."""

from dataclasses import dataclass
from pathlib import Path

from glus_edge.calibration.methods.ranges import METHODS
from glus_edge.calibration.recipe import EMBEDDING_PRECISIONS
from glus_edge.calibration.statistics.encoder_statistics import AUTO
from glus_edge.runtime.errors import InputError

MEASURES = ("masks", "tensors")
EIGHT_BITS = ("int8", "fp8", "none")


@dataclass(frozen=True)
class CalibrationSettings:
    """One calibration. Raises InputError for a value that does not exist."""

    bundle: Path
    videos: str  # a folder, or 'generated'
    output: Path
    budget: str | None = None  # '12 GB', '0.5 J&F'; None: everything at its lowest
    count: int = 8  # videos
    frames: int = 8  # of each video, for masks
    sentences: int = 2  # of each video, for masks
    images: int = 16  # frames whose pixels the encoders are observed on
    prompts: int = 8  # that the language model is observed on
    rank: str = "masks"  # what harm is: points lost by masks, or the error of tensors
    ranges: str = AUTO
    encoders: str = "int8"  # what encoders may be lowered to
    embedding: str = "source"
    smooth: bool = False  # shifts behind the encoders' norms are searched
    awq: bool = True
    overwrite: bool = False

    def __post_init__(self) -> None:
        for option, value, known in (
            ("--rank", self.rank, MEASURES),
            ("--ranges", self.ranges, (AUTO, *METHODS)),
            ("--encoders", self.encoders, EIGHT_BITS),
            ("--embedding", self.embedding, EMBEDDING_PRECISIONS),
        ):
            if value not in known:
                raise InputError(f"{option}: got {value!r}, expected one of {', '.join(known)}")
        for option in ("count", "frames", "sentences", "images", "prompts"):
            if getattr(self, option) < 1:
                raise InputError(f"--{option}: got {getattr(self, option)}, expected at least 1")
