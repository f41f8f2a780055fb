"""What ships with the package: a small trained GLUS as a bundle, and a clip to try it on."""

from pathlib import Path

from glus_edge.runtime.errors import BundleError, InputError

FOLDER = Path(__file__).parents[1] / "nano"
_FIX = "reinstall glus-edge, or give a bundle made by `glus-edge export`"


def shipped_bundle() -> Path:
    """The folder of the shipped bundle. BundleError: this installation has none."""
    folder = FOLDER / "bundle"
    if not (folder / "manifest.json").is_file():
        raise BundleError(f"{folder}: got no bundle, expected the small GLUS that ships with the package; {_FIX}")
    return folder


def shipped_clip() -> Path:
    """The folder of the shipped clip: clip.mp4 and truth.json. InputError: this installation has none."""
    folder = FOLDER / "clip"
    for name in ("clip.mp4", "truth.json"):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: got no file, expected the clip that ships with the package; {_FIX}")
    return folder
