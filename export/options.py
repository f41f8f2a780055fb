"""What an export is made from; the defaults are those of the command line."""

from dataclasses import dataclass, field
from pathlib import Path

from glus_edge.export.checkpoint.sam2_config import OFFICIAL_NAMES
from glus_edge.runtime.bundle.manifest import MemorySettings, WindowSettings
from glus_edge.runtime.bundle.precisions import DTYPES, FP16, FP32, INT4, INT8
from glus_edge.runtime.bundle.signatures import Limits
from glus_edge.runtime.errors import CheckpointError, InputError

PRECISIONS = tuple(DTYPES)
LANGUAGE_WEIGHTS = (FP32, FP16, INT8, INT4)
MOST_CONTEXT_FRAMES = 16
EMBEDDINGS = (FP32, FP16, INT8)
VISION_WEIGHTS = (INT8,)  # beside those of the precision


@dataclass(frozen=True)
class ExportOptions:
    """One export. Raises InputError for a precision that does not exist or a name that is not UTF-8."""

    checkpoint: Path
    output: Path
    vision_tower: Path | None = None  # None: what config.json calls mm_vision_tower, looked up near the checkpoint
    sam2_config: str = OFFICIAL_NAMES[0]
    precision: str = FP32
    language_weights: str | None = None  # None: as the precision
    vision_weights: str | None = None  # of the other graphs; None: as the precision
    embedding: str | None = None  # of the embedding table; None: as the precision
    context_frames: int = WindowSettings.context_frames  # what the checkpoint was trained with
    memory_slots: int = MemorySettings.slots  # 0: without a memory bank
    reference_gamma: bool = False
    overwrite: bool = False
    origin: dict[str, str] = field(default_factory=dict)  # provenance of what came from the Hub

    def __post_init__(self) -> None:
        for name, path in (
            ("CHECKPOINT", self.checkpoint),
            ("--output", self.output),
            ("--vision-tower", self.vision_tower),
        ):
            if path is not None and any("\ud800" <= letter <= "\udfff" for letter in str(path.absolute())):
                raise InputError(
                    f"{name}: got {str(path)!a}, which is not UTF-8, expected a name that ONNX Runtime can open; "
                    "rename the folder"
                )
        if self.precision not in PRECISIONS:
            raise InputError(f"--precision: got {self.precision!r}, expected one of {', '.join(PRECISIONS)}")
        if self.weights not in LANGUAGE_WEIGHTS:
            raise InputError(f"--language-weights: got {self.weights!r}, expected one of {', '.join(LANGUAGE_WEIGHTS)}")
        if self.table not in EMBEDDINGS:
            raise InputError(f"--embedding: got {self.table!r}, expected one of {', '.join(EMBEDDINGS)}")
        if self.vision_weights is not None and (self.vision_weights not in VISION_WEIGHTS or self.precision != FP32):
            raise InputError(
                f"--vision-weights: got {self.vision_weights!r} with --precision {self.precision}, expected "
                f"{' or '.join(VISION_WEIGHTS)} with --precision fp32, or none"
            )
        if not 0 <= self.context_frames <= MOST_CONTEXT_FRAMES:
            raise InputError(f"--context-frames: got {self.context_frames}, expected 0 to {MOST_CONTEXT_FRAMES}")
        if not 0 <= self.memory_slots <= Limits().slots:
            raise InputError(f"--memory-slots: got {self.memory_slots}, expected 0 to {Limits().slots}")

    @property
    def compute(self) -> str:
        """Dtype of activations, 'float32' or 'float16'."""
        return DTYPES[self.precision]

    @property
    def weights(self) -> str:
        """How the language model's matrices are stored."""
        return self.language_weights or self.precision

    @property
    def table(self) -> str:
        """How the embedding table is stored."""
        return self.embedding or self.precision

    def vision_tower_folder(self, named: str) -> Path:
        """The CLIP folder: the one given, or the one config.json names, beside the checkpoint, in it or here.

        Nothing is downloaded. Raises CheckpointError where there is none.
        """
        if self.vision_tower is not None:
            return self.vision_tower
        names = [Path(named), Path(Path(named).name)] if named else []
        for parent in (self.checkpoint.resolve().parent, self.checkpoint, Path()):
            for name in names:
                if self._is_tower(parent / name):
                    return parent / name
        raise CheckpointError(
            f"vision tower {named[:200] or '(not named in config.json)'}: no such folder, or none that can be read, beside "
            f"{self.checkpoint}, in it or in the current folder; download CLIP and give its folder with --vision-tower"
        )

    def _is_tower(self, folder: Path) -> bool:
        """Whether a folder that config.json may mean is there; one out of reach is as good as none."""
        try:
            return (folder / "config.json").is_file() and folder.resolve() != self.checkpoint.resolve()
        except (OSError, ValueError):
            return False
