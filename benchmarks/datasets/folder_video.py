"""A video of a set as a folder of frames, of which the annotations list some or all."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from glus_edge.benchmarks.datasets.dataset import Expression
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.video.frame import Frame, FrameSize
from glus_edge.runtime.video.frame_folder import FrameFolder
from glus_edge.runtime.video.video import Video


class FolderVideo:
    """What the videos of all folder-based sets share; see ReferringVideo."""

    def __init__(
        self, name: str, images: Path, frames: tuple[str, ...], sentences: Sequence[Expression], listed_in: Path
    ) -> None:
        """`images`: the folder that holds the folder `name`; `frames`: their names without suffix, as `listed_in` has them."""
        self.name = name
        self.sentences = sentences
        self.frame_names = frames
        self._images, self._listed_in = images, listed_in
        self._size: FrameSize | None = None

    def open(self) -> Video:
        """See ReferringVideo. InputError: a frame that the sentences are about is missing."""
        video = FrameFolder(self._images / self.name)
        place = {stem: number for number, stem in enumerate(video.stems)}
        if not place.keys() >= set(self.frame_names):
            missing = next(name for name in self.frame_names if name not in place)
            raise InputError(
                f"{video.path}: got {video.frame_count} frames {video.stems[0]} to {video.stems[-1]}, expected the "
                f"{len(self.frame_names)} that {self._listed_in.name} lists; {missing} is missing"
            )
        self._size = video.size
        if tuple(video.stems) == self.frame_names:
            return video
        return ListedFrames(video, tuple(place[name] for name in self.frame_names))

    @property
    def size(self) -> FrameSize:
        """Of the frames, once they have been opened."""
        assert self._size is not None, "truth is asked for after open"
        return self._size


class ListedFrames:
    """Some frames of a folder, in the order of a list, as a Video."""

    def __init__(self, folder: FrameFolder, numbers: tuple[int, ...]) -> None:
        """`numbers`: of the folder's frames."""
        self._folder, self._numbers = folder, numbers
        self.path, self.frame_rate, self.size = folder.path, folder.frame_rate, folder.size
        self.truncated, self.gaps = folder.truncated, folder.gaps
        self.stems: Sequence[str] = tuple(folder.stems[number] for number in numbers)
        self.frame_count = len(numbers)

    def read(self, index: int) -> Frame:
        """See Video."""
        frame = self._folder.read(self._numbers[range(self.frame_count)[index]])
        return replace(frame, index=index, time=float(index / self.frame_rate))

    def frames(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[Frame]:
        """See Video."""
        for index in range(start, self.frame_count if stop is None else stop, step):
            yield self.read(index)

    def close(self) -> None:
        """Nothing is held open."""
