"""Writes a folder in MeViS's format: the golden clip, its two expressions, and the reference's masks as the truth."""

import json
import shutil

import numpy as np

from tests.runtime import golden


def rle_from_mask(mask):
    """The uncompressed form."""
    pixels = mask.T.ravel()
    edges = np.flatnonzero(np.diff(pixels)) + 1
    runs = np.diff([0, *edges, len(pixels)]).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if pixels[0] else runs}


def write_mevis(folder, videos=("clip",)):
    """`folder` with one copy of the golden clip per name. Expression 2 means both objects, expression 3 means none."""
    masks = [golden.expected_masks(run) for run in ("exp0", "exp1")]
    annotations, meta = {}, {}
    stems = sorted(path.stem for path in golden.FRAMES.glob("*.png"))
    for number, name in enumerate(videos):
        shutil.copytree(golden.FRAMES, folder / "JPEGImages" / name)
        first = 10 * number
        for place, frames in enumerate(masks):
            annotations[str(first + place)] = [rle_from_mask(mask) if mask.any() else None for mask in frames]
        meta[name] = {
            "vid_id": number,
            "frames": stems,
            "expressions": {
                "0": {"exp": golden.sentence("exp0"), "obj_id": [0], "anno_id": [first], "kind": "appearance"},
                "1": {"exp": golden.sentence("exp1"), "obj_id": [1], "anno_id": [first + 1], "kind": "motion"},
                "2": {"exp": golden.sentence("exp1"), "obj_id": [0, 1], "anno_id": [first, first + 1]},
                "3": {"exp": golden.sentence("exp0"), "obj_id": [], "anno_id": []},
            },
        }
    (folder / "meta_expressions.json").write_text(json.dumps({"videos": meta}))
    (folder / "mask_dict.json").write_text(json.dumps(annotations))
    return folder
