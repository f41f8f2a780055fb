"""Whether the files of ONNX Runtime are those of one package: two packages own the same ones."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

# Names that packages of ONNX Runtime have on PyPI and in vendors' indexes; each installs the module `onnxruntime`.
_PREFIX = "onnxruntime"
_MODULE_FOLDER = "onnxruntime"


@dataclass(frozen=True)
class OnnxRuntimeFiles:
    """What was found in the folder of the module."""

    packages: dict[str, str]  # name -> version of each package that owns files there
    damaged: tuple[str, ...]  # those of them of whose files some are missing or of another size

    @property
    def mixed(self) -> bool:
        """Whether files of one package may lie over those of another."""
        return len(self.packages) > 1


def onnxruntime_files(installed: Iterable[Distribution] | None = None) -> OnnxRuntimeFiles:
    """Compares the files of every package of ONNX Runtime with what pip recorded when it installed them.

    `installed`: the packages to look through; None for all that this Python sees.
    """
    packages: dict[str, str] = {}
    damaged = []
    for distribution in distributions() if installed is None else installed:
        name = distribution.metadata["Name"]
        if name is None or not name.lower().replace("_", "-").startswith(_PREFIX) or name in packages:
            continue
        files = [file for file in distribution.files or () if file.parts[0] == _MODULE_FOLDER and file.size is not None]
        if not files:
            continue
        packages[name] = distribution.version
        if any(_size(Path(str(distribution.locate_file(file)))) != file.size for file in files):
            damaged.append(name)
    return OnnxRuntimeFiles(packages, tuple(damaged))


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
