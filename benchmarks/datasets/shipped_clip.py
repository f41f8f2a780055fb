"""The clip that ships with the package: a generated video, its sentences and what each means on every frame."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.datasets.coco_rle import mask_from_rle
from glus_edge.benchmarks.datasets.dataset import Expression
from glus_edge.runtime.bundle.shipped import shipped_clip
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.video.video import Video, open_video

CLIP, TRUTH = "clip.mp4", "truth.json"


class ShippedClip:
    """See ReferringVideo. The folder holds clip.mp4 and truth.json: sentences, each with a run-length code a frame."""

    name = "shipped clip"

    def __init__(self, folder: Path | None = None) -> None:
        """By default the one in the package. InputError: there is none, or its truth cannot be read."""
        self._folder = shipped_clip() if folder is None else folder
        path = self._folder / TRUTH
        try:
            entries = json.loads(path.read_bytes())["sentences"]
            self.sentences: Sequence[Expression] = tuple(
                Expression(str(number), str(entry["text"]), str(entry["kind"])) for number, entry in enumerate(entries)
            )
            # [sentences, F, H, W]
            self._masks = np.stack([np.stack([mask_from_rle(code) for code in entry["masks"]]) for entry in entries])
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); reinstall glus-edge") from error
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InputError(
                f"{path}: got {error!r}, expected sentences with a mask a frame; reinstall glus-edge"
            ) from error

    def open(self) -> Video:
        """See ReferringVideo. InputError: the truth is of another clip."""
        video = open_video(self._folder / CLIP)
        if (video.frame_count, *video.size) != self._masks.shape[1:]:
            raise InputError(
                f"{self._folder / TRUTH}: got masks of {self._masks.shape[1:]}, expected {video.frame_count} frames of "
                f"{tuple(video.size)} as {CLIP} has; reinstall glus-edge"
            )
        return video

    def truth(self, frame: int) -> NDArray[np.bool_]:
        """See ReferringVideo."""
        return self._masks[:, frame]
