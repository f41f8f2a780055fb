"""Videos with sentences and true masks: what accuracy is measured on."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.metrics.metric import NO_TARGET
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.video.video import Video

__all__ = ["NO_TARGET", "Dataset", "Expression", "ReferringVideo", "video_count"]


class Expression(NamedTuple):
    """One sentence of a video."""

    key: str  # unique in its video
    text: str
    kind: str  # what decides it: 'appearance', 'relation', 'motion', NO_TARGET, or '' where the set does not say


class ReferringVideo(Protocol):
    """One video and what is asked of it."""

    @property
    def name(self) -> str:
        """Unique in its set."""
        ...

    @property
    def sentences(self) -> Sequence[Expression]:
        """At least one."""
        ...

    def open(self) -> Video:
        """The frames. VideoError: they cannot be read."""
        ...

    def truth(self, frame: int) -> NDArray[np.bool_]:
        """What each sentence means on one frame, [sentences, H, W]. InputError: the set's file is wrong."""
        ...


class Dataset(Protocol):
    """A set of such videos."""

    @property
    def name(self) -> str:
        """For the record."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> ReferringVideo: ...


def video_count(dataset: Dataset, wanted: int | None) -> int:
    """How many videos --videos asks for, all by default. InputError: as many are not there."""
    videos = len(dataset) if wanted is None else wanted
    if not 0 < videos <= len(dataset):
        raise InputError(f"--videos: got {videos}, expected 1 to {len(dataset)}, the videos of {dataset.name}")
    return videos
