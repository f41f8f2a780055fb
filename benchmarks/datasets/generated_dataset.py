"""The fixed held-out set of `glus_edge.training`, drawn when it is needed, from its seeds."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.datasets.dataset import Expression
from glus_edge.benchmarks.instruments.memory_video import MemoryVideo
from glus_edge.runtime.video.video import Video
from glus_edge.training.data.video import HELD_OUT, GeneratedVideo, VideoSet, generate_set

GENERATED = "generated"  # the name it is opened by


class GeneratedDataset:
    """Videos 0 .. n-1 of a set: by default the held-out one."""

    def __init__(self, which: VideoSet = HELD_OUT, name: str = GENERATED) -> None:
        self.name = name
        self._which = which

    def __len__(self) -> int:
        return self._which.videos

    def __getitem__(self, number: int, /) -> "GeneratedReferringVideo":
        return GeneratedReferringVideo(f"{number:03d}", generate_set(self._which, range(len(self))[number]))


class GeneratedReferringVideo:
    """See ReferringVideo."""

    def __init__(self, name: str, video: GeneratedVideo) -> None:
        self.name = name
        self._video = video
        self.sentences: Sequence[Expression] = tuple(
            Expression(str(number), sentence.text, sentence.kind) for number, sentence in enumerate(video.sentences)
        )
        self._masks = video.masks()  # [sentences, F, H, W]

    def open(self) -> Video:
        """See ReferringVideo."""
        return MemoryVideo(f"{GENERATED}/{self.name}", self._video.frames)

    def truth(self, frame: int) -> NDArray[np.bool_]:
        """See ReferringVideo."""
        return self._masks[:, frame]
