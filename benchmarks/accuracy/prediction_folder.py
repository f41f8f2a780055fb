"""Predictions on disk in a benchmark's own layout, and the zip file that its server takes."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

from glus_edge.benchmarks.datasets.dataset import ReferringVideo
from glus_edge.benchmarks.datasets.layout import Layout, MaskFile
from glus_edge.runtime.errors import OutputError
from glus_edge.runtime.utils.atomic_file import write_file, written_aside

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest date of the zip format: the same masks make the same file


class PredictionFolder:
    """A folder of predictions; each file is written whole or not at all."""

    def __init__(self, root: Path, layout: Layout) -> None:
        self.root, self.layout = root, layout

    def check_new(self) -> None:
        """OutputError: something is there that is not of a run to go on with."""
        try:
            if self.root.exists() and (not self.root.is_dir() or any(self.root.iterdir())):
                raise OutputError(f"{self.root}: exists already, expected a new or empty folder; name another one")
        except OSError as error:
            raise OutputError(f"{self.root}: cannot be used ({error.strerror}), expected a folder to create") from error

    def write(self, file: MaskFile) -> None:
        """Writes one file. OutputError: the disk is full, or the file cannot be written."""
        path = self.root / file.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{path.parent}: cannot be made ({error.strerror}), expected a folder that can be written to"
            ) from error
        write_file(path, file.content)

    def is_whole(self, files: list[str]) -> bool:
        """Whether all of a finished video's files are there, none of them empty as a power failure leaves them."""
        return all(path.is_file() and path.stat().st_size for path in (self.root / name for name in files))

    def pack(self, path: Path, files: Iterator[str]) -> int:
        """Writes the zip file of these files, in this order; gives their number. OutputError."""
        count = 0
        with written_aside(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            for name in files:
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), (self.root / name).read_bytes())
                count += 1
        return count


def video_files(layout: Layout, video: ReferringVideo, stems: tuple[str, ...]) -> list[str]:
    """The paths of all files of a video in a submission, sorted."""
    count = len(video.sentences)
    return sorted(name for index, stem in enumerate(stems) for name in layout.paths(video, index, stem, range(count)))
