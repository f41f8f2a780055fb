"""YouTube-VIS: annotations.json with one track for each sentence, a run-length code or null for each frame."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from glus_edge.runtime.errors import OutputError
from glus_edge.runtime.output.formats.coco import categories
from glus_edge.runtime.output.formats.json_file import write_json
from glus_edge.runtime.output.formats.masked_video import MaskedVideo
from glus_edge.runtime.output.formats.run_length import rle_from_mask


def write_youtube_vis(folder: Path, video: MaskedVideo) -> None:
    """See MaskFormat. OutputError, too: frames of several sizes."""
    height, width = video.frames[0].masks().shape[1:]
    about = {"width": width, "height": height, "length": len(video.frames)}
    tracks: list[dict[str, Any]] = [
        {"id": number, "video_id": 1, "category_id": number, "iscrowd": 0, **about}
        | {"segmentations": [], "areas": [], "bboxes": []}
        for number in range(1, len(video.sentences) + 1)
    ]
    for frame in video.frames:
        masks = frame.masks()
        if masks.shape[1:] != (height, width):
            raise OutputError(
                f"YouTube-VIS: got frame {frame.stem} of {masks.shape[1:]}, expected {(height, width)} as the first: "
                "the format has one size a video"
            )
        for track, mask in zip(tracks, masks, strict=True):
            shown = bool(mask.any())
            track["segmentations"].append(rle_from_mask(mask) if shown else None)
            track["areas"].append(int(np.count_nonzero(mask)) if shown else None)
            track["bboxes"].append(list(cv2.boundingRect(mask.view(np.uint8))) if shown else None)
    files = [f"{video.name}/{frame.stem}.jpg" for frame in video.frames]
    document = {"videos": [{"id": 1, "file_names": files, **about}], "annotations": tracks}
    write_json(folder / "annotations.json", document | {"categories": categories(video)})
