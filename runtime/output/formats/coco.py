"""COCO: annotations.json with an image for each frame and a run-length code for each mask; `track_id` is the sentence's."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from glus_edge.runtime.output.formats.json_file import write_json
from glus_edge.runtime.output.formats.masked_video import MaskedVideo
from glus_edge.runtime.output.formats.run_length import rle_from_mask


def write_coco(folder: Path, video: MaskedVideo) -> None:
    """See MaskFormat. Sentences are categories, numbered from 1; empty masks have no annotation."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for frame in video.frames:
        image = frame.index + 1
        masks = frame.masks()
        height, width = masks.shape[1:]
        images.append({"id": image, "file_name": f"{frame.stem}.jpg", "width": width, "height": height})
        for category, mask in enumerate(masks, 1):
            if mask.any():
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": image, "category_id": category, "track_id": category}
                    | {"segmentation": rle_from_mask(mask), "area": int(np.count_nonzero(mask)), "iscrowd": 0}
                    | {"bbox": list(cv2.boundingRect(mask.view(np.uint8)))}
                )
    document: dict[str, Any] = {"images": images, "annotations": annotations, "categories": categories(video)}
    write_json(folder / "annotations.json", document)


def categories(video: MaskedVideo) -> list[dict[str, Any]]:
    """A category for each sentence, numbered from 1."""
    return [{"id": number, "name": text, "supercategory": ""} for number, text in enumerate(video.sentences, 1)]
