"""Writes a generated set in MeViS's folder format.

    DIR/JPEGImages/<video>/00000.jpg ...     frames
    DIR/meta_expressions.json                sentences; each with its objects, its annotations and its kind
    DIR/mask_dict.json                       per annotation a COCO run-length code per frame, null where nothing is seen

An annotation is one object of one video, so sentences about the same object share its masks.
"""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from glus_edge.export.staging import new_folder
from glus_edge.runtime.errors import OutputError
from glus_edge.training.data.video import GeneratedVideo, VideoSet, generate_set

_JPEG_QUALITY = 95


def rle_from_mask(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's compressed run-length code of a mask [H, W]: {"size": [H, W], "counts": text}."""
    flat = np.concatenate(([False], mask.T.reshape(-1), [False]))  # down the columns, from outside to outside
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    runs = np.diff(np.concatenate(([0], edges, [mask.size]))).tolist()
    if edges.size and edges[-1] == mask.size:
        runs.pop()  # the mask ends inside: there is no last run outside
    return {"size": [int(side) for side in mask.shape], "counts": _text_from_runs(runs)}


def _text_from_runs(runs: list[int]) -> str:
    """Groups of five bits, the lowest first; runs from the fourth on less the one before last."""
    out = []
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        more = True
        while more:
            group = value & 31
            value >>= 5  # keeps the sign
            more = value != (-1 if group & 16 else 0)
            out.append(chr(48 + (group | 32 if more else group)))
    return "".join(out)


def write_video(folder: Path, name: str, video: GeneratedVideo, first_annotation: int) -> tuple[dict[str, Any], int]:
    """Writes the frames; returns the video's entry of meta_expressions.json and the next free annotation number."""
    images = folder / "JPEGImages" / name
    images.mkdir(parents=True)
    stems = [f"{number:05d}" for number in range(len(video.frames))]
    for stem, frame in zip(stems, video.frames, strict=True):
        options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
        _, code = cv2.imencode(".jpg", np.ascontiguousarray(frame[..., ::-1]), options)
        (images / f"{stem}.jpg").write_bytes(code.tobytes())  # cv2.imwrite would pass over a full disk in silence
    expressions = {
        str(i): {
            "exp": sentence.text,
            "obj_id": list(sentence.targets),
            "anno_id": [first_annotation + target for target in sentence.targets],
            "kind": sentence.kind,
        }
        for i, sentence in enumerate(video.sentences)
    }
    entry = {"frames": stems, "vid_id": int(name), "expressions": expressions}
    return entry, first_annotation + len(video.scene.things)


def write_set(output: Path, which: VideoSet) -> None:
    """Writes a whole set to a new folder, or nothing. OutputError: the folder is in the way, or cannot be written."""
    if output.is_dir() and any(output.iterdir()):
        raise OutputError(f"{output}: holds something already; give another --output")
    with new_folder(output, overwrite=False) as folder:
        _write_set(folder, which)


def _write_set(folder: Path, which: VideoSet) -> None:
    videos: dict[str, Any] = {}
    masks: dict[str, Any] = {}
    annotation = 0
    for number in range(which.videos):
        video = generate_set(which, number)
        name = f"{number:05d}"
        for thing in range(len(video.scene.things)):
            seen = video.owners == thing + 1
            masks[str(annotation + thing)] = [rle_from_mask(mask) if mask.any() else None for mask in seen]
        videos[name], annotation = write_video(folder, name, video, annotation)
    (folder / "meta_expressions.json").write_text(json.dumps({"videos": videos}))
    (folder / "mask_dict.json").write_text(json.dumps(masks))
