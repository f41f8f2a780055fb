"""Clips of the golden film, and the golden bundle calibrated once."""

from pathlib import Path

import pytest

from tests.runtime.golden import FRAMES, sentence


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    (folder / "balls").symlink_to(FRAMES)
    (folder / "balls.txt").write_text(f"{sentence('exp0')}\n\n{sentence('exp1')}\n")
    (folder / "broken.mp4").write_bytes(b"nothing")
    (folder / "broken.txt").write_text("a dog\n")
    return folder


@pytest.fixture(scope="session")
def lowest(golden_bundle: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything at its lowest: an int4 language model, int8 encoders."""
    output = tmp_path_factory.mktemp("calibrated") / "lowest"
    from glus_edge.calibration.calibrate import calibrate  # torch: only the tests that ask for it have it
    from tests.calibration.calibrated import settings

    calibrate(settings(golden_bundle, clips, output, embedding="int8", smooth=True), lambda line: None)
    return output
