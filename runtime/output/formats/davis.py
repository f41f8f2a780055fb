"""DAVIS: an indexed PNG for each frame with sentence numbers from 1; where masks overlap the earlier sentence wins."""

from pathlib import Path

import numpy as np

from glus_edge.runtime.errors import OutputError
from glus_edge.runtime.output.formats.masked_video import MaskedVideo, without_overlap
from glus_edge.runtime.output.mask_png import png_from_indices
from glus_edge.runtime.utils.atomic_file import write_file

_MOST = 254  # 255 is DAVIS's void


def write_davis(folder: Path, video: MaskedVideo) -> None:
    """See MaskFormat."""
    if len(video.sentences) > _MOST:
        raise OutputError(f"DAVIS: got {len(video.sentences)} sentences, expected at most {_MOST}")
    for frame in video.frames:
        numbers = without_overlap(frame.masks()).astype(np.uint8)
        write_file(folder / f"{frame.stem}.png", png_from_indices(numbers))
