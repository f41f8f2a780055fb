"""Calibration videos of the golden film, and the golden bundle calibrated once."""

from pathlib import Path

import pytest

from tests.conftest import made_once
from tests.runtime.golden import FRAMES, sentence


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    (folder / "balls").symlink_to(FRAMES)
    (folder / "balls.txt").write_text(f"{sentence('exp0')}\n\n{sentence('exp1')}\n")
    (folder / "broken.mp4").write_bytes(b"nothing")
    (folder / "broken.txt").write_text("a dog\n")
    return folder


@pytest.fixture(scope="session")
def lowest(golden_bundle: Path, videos: Path, shared_folder: Path) -> Path:
    """Everything at its lowest: an int4 language model, int8 encoders."""
    from glus_edge.calibration.calibrate import calibrate  # torch: only the tests that ask for it have it
    from tests.calibration.calibrated import settings

    def make(output: Path) -> None:
        calibrate(settings(golden_bundle, videos, output, embedding="int8", smooth=True), lambda line: None)

    return made_once(shared_folder / "calibrated" / "lowest", make)
