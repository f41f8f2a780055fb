"""YOLO segmentation: data.yaml and labels/<frame>.txt, a line for each outline: class, then x and y as shares of the sides.

The format has no holes: a mask is its outer outlines. One of a single pixel or line is left out.
"""

import json
from pathlib import Path

import cv2
import numpy as np

from glus_edge.runtime.errors import OutputError
from glus_edge.runtime.output.formats.masked_video import MaskedVideo
from glus_edge.runtime.utils.atomic_file import write_file

_LEAST_CORNERS = 3


def write_yolo(folder: Path, video: MaskedVideo) -> None:
    """See MaskFormat. A frame without a mask has an empty file."""
    labels = folder / "labels"
    try:
        labels.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{labels}: cannot be made ({error.strerror}), expected a folder of ours") from error
    for frame in video.frames:
        lines = []
        masks = frame.masks()
        sides = np.array(masks.shape[:0:-1])  # width, height
        for number, mask in enumerate(masks):
            outlines, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            for outline in outlines:
                if len(outline) >= _LEAST_CORNERS:
                    corners = (outline.reshape(-1, 2) / sides).ravel()
                    lines.append(" ".join([str(number), *(f"{value:.6f}" for value in corners)]) + "\n")
        write_file(labels / f"{frame.stem}.txt", "".join(lines).encode())
    names = list(video.sentences)
    entries = {"path": ".", "train": "images", "val": "images", "nc": len(names), "names": names}
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in entries.items())  # JSON is YAML
    write_file(folder / "data.yaml", text.encode())
