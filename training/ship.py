"""A run's weights become the bundle that ships, with the demo video beside it.

The run's newest state goes through the official folders and `glus-edge export`; what ships is replaced only by a bundle that
was compared with torch and is small enough. A clone keeps the weights themselves, packed, to repeat the export from.
"""

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from glus_edge.export.export import export_bundle
from glus_edge.export.options import ExportOptions
from glus_edge.export.staging import new_folder
from glus_edge.runtime.bundle.shipped import FOLDER
from glus_edge.runtime.errors import OutputError
from glus_edge.training.data.demo_video import write_demo_video
from glus_edge.training.packing import STATES, open_state, pack, write_official
from glus_edge.training.settings import TrainingSettings

NAME = "glus-nano"
LARGEST_BYTES = 12_000_000
PACKED = Path(__file__).with_name("packed")


@dataclass(frozen=True)
class ShipOptions:
    """How a run's weights are stored in the bundle; see `glus-edge export`."""

    run: Path
    state: str = "newest"
    output: Path = FOLDER
    packed: Path = PACKED
    precision: str = "fp32"
    language_weights: str | None = "int8"
    vision_weights: str | None = "int8"


def ship(options: ShipOptions, settings: TrainingSettings | None = None) -> None:
    """Writes output/bundle, whole or not at all, then output/clip and packed.

    Errors: InputError: no such state; those of the export; OutputError: the bundle is too large.
    """
    learner, place = open_state(
        options.run / STATES[options.state], settings or TrainingSettings(), training_heads=True
    )
    with tempfile.TemporaryDirectory(prefix="glus-edge-ship-") as name:
        official = Path(name)
        write_official(learner, official)
        checkpoint = (official / "checkpoint").rename(official / NAME)
        export_bundle(
            ExportOptions(
                checkpoint=checkpoint,
                vision_tower=official / "clip",
                sam2_config=str(official / "sam2.yaml"),
                output=official / "bundle",
                precision=options.precision,
                language_weights=options.language_weights,
                vision_weights=options.vision_weights,
            ),
            lambda line: print(line, file=sys.stderr),
        )
        size = sum(path.stat().st_size for path in (official / "bundle").iterdir())
        if size > LARGEST_BYTES:
            raise OutputError(
                f"the bundle: got {size / 1e6:.1f} MB, expected at most {LARGEST_BYTES / 1e6:.0f} MB in the wheel; "
                "choose --language-weights int4 or --vision-weights int8"
            )
        with new_folder(options.output / "bundle", overwrite=True) as folder:
            shutil.copytree(official / "bundle", folder, dirs_exist_ok=True)
    clip = options.output / "clip"
    clip.mkdir(exist_ok=True)
    write_demo_video(clip)
    pack(learner, place, options.packed)
    print(f"{options.output / 'bundle'}: {size / 1e6:.1f} MB")
