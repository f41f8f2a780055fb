"""MOTS: masks.txt with a line for each mask: frame, object, class, height, width, run-length code.

Frames are the video's, from 0. Every sentence is class 1, its object 1000 and its number, as KITTI MOTS numbers objects.
Masks may not overlap there: where they do, the earlier sentence wins.
"""

from pathlib import Path

from glus_edge.runtime.errors import OutputError
from glus_edge.runtime.output.formats.masked_video import MaskedVideo, without_overlap
from glus_edge.runtime.output.formats.run_length import rle_from_mask
from glus_edge.runtime.utils.atomic_file import write_file

_CLASS, _OBJECTS = 1, 1000


def write_mots(folder: Path, video: MaskedVideo) -> None:
    """See MaskFormat."""
    if len(video.sentences) >= _OBJECTS:
        raise OutputError(f"MOTS: got {len(video.sentences)} sentences, expected fewer than {_OBJECTS}")
    lines = []
    for frame in video.frames:
        numbers = without_overlap(frame.masks())
        for number in range(1, len(video.sentences) + 1):
            mask = numbers == number
            if mask.any():
                code = rle_from_mask(mask)
                height, width = code["size"]
                lines.append(f"{frame.index} {_CLASS * _OBJECTS + number} {_CLASS} {height} {width} {code['counts']}\n")
    write_file(folder / "masks.txt", "".join(lines).encode())
