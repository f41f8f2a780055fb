"""Writes tiny folders in the official layouts, every one with hand-made masks of 12 x 20 pixels."""

import json
import pickle

import cv2
import numpy as np
from PIL import Image

from glus_edge.runtime.output.mask_png import davis_palette
from tests.benchmarks.mevis_folder import rle_from_mask

SIZE = (12, 20)
FRAMES = ("00000", "00005", "00010")


def box(top, bottom, left, right):
    """bool [H, W] with a rectangle."""
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def moving(top, left):
    """A square of 4 x 4 pixels that moves by a pixel a frame, bool [F, H, W]."""
    return np.stack([box(top, top + 4, left + step, left + step + 4) for step in range(len(FRAMES))])


def write_frames(folder, frames=FRAMES):
    folder.mkdir(parents=True)
    for number, name in enumerate(frames):
        cv2.imwrite(str(folder / f"{name}.jpg"), np.full((*SIZE, 3), 40 * number, np.uint8))


def write_json(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def write_png(path, values, palette=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(values, np.uint8))
    if palette:
        image.putpalette(davis_palette())
    image.save(path)


def codes(masks):
    return [rle_from_mask(mask) if mask.any() else None for mask in masks]


ONE, TWO = moving(1, 2), moving(7, 9)


def mevis(folder, expressions="meta_expressions.json", masks=True, names=("cats",)):
    """In every video sentence 0 means object one, 1 both, 2 nothing."""
    sentences = {
        "0": {"exp": "one", "obj_id": [0], "anno_id": [3]},
        "1": {"exp": "both", "obj_id": [0, 1], "anno_id": [3, 4]},
        "2": {"exp": "nothing", "obj_id": [], "anno_id": []},
    }
    for name in names:
        write_frames(folder / "JPEGImages" / name)
    videos = {name: {"vid_id": 0, "frames": FRAMES, "expressions": sentences} for name in names}
    write_json(folder / expressions, {"videos": videos})
    if masks:
        write_json(folder / "mask_dict.json", {"3": codes(ONE), "4": codes(TWO)})
    return folder


def revos(folder):
    """One video; sentence 1 means two annotations that overlap in the first frame, sentence 2 nothing."""
    write_frames(folder / "JPEGImages" / "cats")
    overlapping = TWO.copy()
    overlapping[0] = ONE[0]
    entry = {
        "frames": FRAMES,
        "expressions": {
            "0": {"exp": "one", "anno_id": [0], "type_id": 0},
            "1": {"exp": "why both", "anno_id": [0, 1], "type_id": 1},
            "2": {"exp": "nothing", "anno_id": [], "type_id": 2},
        },
    }
    write_json(folder / "meta_expressions_valid_.json", {"videos": {"cats": entry}})
    write_json(folder / "mask_dict.json", {"0": codes(ONE), "1": codes(overlapping)})
    # Frame 0 has one code, the others a list of two, as the set has it.
    foreground = [rle_from_mask(ONE[0])] + [
        [rle_from_mask(a), rle_from_mask(b)] for a, b in zip(ONE[1:], TWO[1:], strict=True)
    ]
    write_json(folder / "mask_dict_foreground.json", {"cats": {"masks_rle": foreground}})
    return folder


def reasonvos(folder):
    write_frames(folder / "JPEGImages" / "cats")
    expressions = [
        {"obj_id": 1, "exp_id": 0, "exp_text": "one", "is_sent": True},
        {"obj_id": 2, "exp_id": 7, "exp_text": "two", "is_sent": False},
    ]
    entry = {"source": "MOSE", "frames": FRAMES, "expressions": expressions}
    write_json(folder / "meta_expressions.json", {"videos": {"cats": entry}})
    for number, masks in ((1, ONE), (2, TWO)):
        for name, mask in zip(FRAMES, masks, strict=True):
            write_png(folder / "Annotations" / f"MOSE_cats_{number}" / f"{name}.png", 255 * mask)
    return folder


def long_rvos(folder):
    """The object of sentence 1 is not in the last frame: that PNG is missing."""
    write_frames(folder / "JPEGImages" / "cats")
    sentences = {
        "0": {"exp": "one", "obj_id": "1", "type": "static"},
        "1": {"exp": "two", "obj_id": 2, "type": "dynamic"},
        "2": {"exp": "two again", "obj_id": 2, "type": "hybrid"},
    }
    write_json(folder / "meta_expressions.json", {"videos": {"cats": {"frames": FRAMES, "expressions": sentences}}})
    for number, masks in ((1, ONE), (2, TWO[:2])):
        for name, mask in zip(FRAMES, masks, strict=False):
            write_png(folder / "Annotations" / "cats" / str(number) / f"{name}.png", 255 * mask)
    return folder


def ref_youtube_vos(folder):
    """The valid file lists a video of the test split, too."""
    for split, name in (("valid", "cats"), ("valid", "dogs"), ("train", "cows")):
        write_frames(folder / split / "JPEGImages" / name)
    entry = {"frames": FRAMES, "expressions": {"0": {"exp": "one"}, "1": {"exp": "two"}}}
    with_objects = {
        "frames": FRAMES,
        "expressions": {"0": {"exp": "one", "obj_id": "1"}, "1": {"exp": "two", "obj_id": "2"}},
    }
    for split, videos in (
        ("valid", {"cats": entry, "dogs": entry}),
        ("test", {"dogs": entry}),
        ("train", {"cows": with_objects}),
    ):
        write_json(folder / "meta_expressions" / split / "meta_expressions.json", {"videos": videos})
    for name, one, two in zip(FRAMES, ONE, TWO, strict=True):
        write_png(folder / "train" / "Annotations" / "cows" / f"{name}.png", one + 2 * two, palette=True)
    return folder


def ref_davis17(folder):
    """Two objects of four sentences each; the second frame has void pixels beside object 1."""
    write_frames(folder / "valid" / "JPEGImages" / "cats")
    sentences = {str(key): {"exp": f"sentence {key}", "obj_id": str(1 + key // 4)} for key in range(8)}
    entry = {"frames": FRAMES, "expressions": sentences}
    write_json(folder / "meta_expressions" / "valid" / "meta_expressions.json", {"videos": {"cats": entry}})
    (folder / "ImageSets" / "2017").mkdir(parents=True)
    (folder / "ImageSets" / "2017" / "val.txt").write_text("cats\n")
    for number, (name, one, two) in enumerate(zip(FRAMES, ONE, TWO, strict=True)):
        objects = (one + 2 * two).astype(np.uint8)
        if number == 1:
            objects[0, :] = 255
        write_png(folder / "Annotations_unsupervised" / "480p" / "cats" / f"{name}.png", objects, palette=True)
    return folder


def ref_davis17_expressions(folder, pickled=True):
    """Eleven sentences: sorted as text, sentence 10 comes third."""
    write_frames(folder / "valid" / "JPEGImages" / "cats")
    entry = {"frames": FRAMES, "expressions": {str(key): {"exp": f"sentence {key}"} for key in range(12)}}
    write_json(folder / "meta_expressions" / "valid" / "meta_expressions.json", {"videos": {"cats": entry}})
    masks = {}
    for annotation in range(12):
        masks[str(annotation)] = codes(np.stack([box(annotation, annotation + 1, 0, 5)] * len(FRAMES)))
    path = folder / "valid" / ("mask_dict.pkl" if pickled else "mask_dict.json")
    path.write_bytes(pickle.dumps(masks) if pickled else json.dumps(masks).encode())
    return folder


WRITERS = {
    "mevis": mevis,
    "mevis-v2": lambda folder: mevis(folder, "meta_expressions_v2.json"),
    "mevis-server": lambda folder: mevis(folder, masks=False),
    "mevis-v2-server": lambda folder: mevis(folder, "meta_expressions_v2.json", masks=False),
    "ref-youtube-vos": ref_youtube_vos,
    "ref-youtube-vos-train": ref_youtube_vos,
    "ref-davis17": ref_davis17,
    "ref-davis17-expressions": ref_davis17_expressions,
    "revos": revos,
    "reasonvos": reasonvos,
    "reasonvos-videolisa": reasonvos,
    "long-rvos": long_rvos,
}
