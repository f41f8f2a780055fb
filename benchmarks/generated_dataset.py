"""The fixed held-out set of `glus_edge.training`, drawn when it is needed: the same pictures on every machine."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.datasets import GENERATED, Sentence
from glus_edge.benchmarks.memory_video import MemoryVideo
from glus_edge.runtime.video import Video
from glus_edge.training.video import HELD_OUT, GeneratedVideo, generate_set


class GeneratedDataset:
    """Videos 0 .. n-1 of the held-out set."""

    name = GENERATED

    def __len__(self) -> int:
        return HELD_OUT.videos

    def __getitem__(self, number: int, /) -> "GeneratedReferringVideo":
        return GeneratedReferringVideo(f"{number:03d}", generate_set(HELD_OUT, range(len(self))[number]))


class GeneratedReferringVideo:
    """See ReferringVideo."""

    def __init__(self, name: str, video: GeneratedVideo) -> None:
        self.name = name
        self._video = video
        self.sentences: Sequence[Sentence] = tuple(
            Sentence(str(number), sentence.text, sentence.kind) for number, sentence in enumerate(video.sentences)
        )
        self._masks = video.masks()  # [sentences, F, H, W]

    def open(self) -> Video:
        """See ReferringVideo."""
        return MemoryVideo(f"{GENERATED}/{self.name}", self._video.frames)

    def truth(self, frame: int) -> NDArray[np.bool_]:
        """See ReferringVideo."""
        return self._masks[:, frame]
