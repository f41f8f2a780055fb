"""Every format is read back by its own library, or by its specification, and gives the masks that were written."""

import json
import xml.etree.ElementTree as ElementTree

import cv2
import numpy as np
import pytest
import supervision
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from glus_edge.runtime.bundle.shipped import shipped_bundle
from glus_edge.runtime.cli import main
from glus_edge.runtime.errors import OutputError
from glus_edge.runtime.output.formats.masked_video import MaskedFrame, MaskedVideo, without_overlap
from glus_edge.runtime.output.formats.registry import FORMATS
from glus_edge.runtime.output.formats.run_length import rle_from_mask

SIZE = (40, 60)
SENTENCES = ("the red car", 'a "quoted" <dog> & \x07 bell: é')


def masks():
    """bool [3, 2, H, W]: two overlapping shapes that move; the second is not in the last frame."""
    drawn = np.zeros((3, 2, *SIZE), np.uint8)
    for frame in range(3):
        cv2.ellipse(drawn[frame, 0], (20 + 3 * frame, 18), (12, 9), 20, 0, 360, 1, -1)
        if frame < 2:
            cv2.rectangle(drawn[frame, 1], (25, 15 + frame), (44, 30), 1, -1)
    return drawn > 0


MASKS = masks()


def video(drawn=MASKS, sentences=SENTENCES):
    frames = tuple(MaskedFrame(5 * n, f"{5 * n:05d}", lambda each=each: each) for n, each in enumerate(drawn))
    return MaskedVideo("cats", sentences, frames)


@pytest.fixture
def write(tmp_path):
    def write_one(name, *arguments):
        FORMATS[name](tmp_path, video(*arguments))
        return tmp_path

    return write_one


@given(st.tuples(st.integers(1, 30), st.integers(1, 30)).flatmap(lambda shape: arrays(bool, shape)))
def test_run_lengths_are_those_of_pycocotools(mask):
    code = rle_from_mask(mask)
    wanted = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert code == {"size": wanted["size"], "counts": wanted["counts"].decode()}


def test_coco_is_read_by_pycocotools(write, capsys):
    coco = COCO(str(write("coco") / "annotations.json"))
    assert [each["name"] for each in coco.loadCats(coco.getCatIds())] == list(SENTENCES)
    read = np.zeros_like(MASKS)
    for annotation in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(annotation) > 0
        frame = (annotation["image_id"] - 1) // 5
        assert annotation["area"] == mask.sum()
        assert annotation["track_id"] == annotation["category_id"]
        assert annotation["bbox"] == coco_mask.toBbox(coco.annToRLE(annotation)).tolist()
        read[frame, annotation["category_id"] - 1] = mask
    assert np.array_equal(read, MASKS)


def test_youtube_vis_has_a_code_or_null_a_frame(write):
    document = json.loads((write("youtube-vis") / "annotations.json").read_text())
    (about,) = document["videos"]
    assert (about["length"], about["file_names"][1]) == (3, "cats/00005.jpg")
    for track, wanted in zip(document["annotations"], MASKS.transpose(1, 0, 2, 3), strict=True):
        codes = track["segmentations"]
        read = [coco_mask.decode(code) if code else np.zeros(SIZE) for code in codes]
        assert np.array_equal(np.stack(read) > 0, wanted)
        assert [area is None for area in track["areas"]] == [not mask.any() for mask in wanted]
        assert [box is None for box in track["bboxes"]] == [not mask.any() for mask in wanted]


def test_youtube_vis_has_one_size(tmp_path):
    drawn = [np.ones((2, 4, 5), bool), np.ones((2, 5, 4), bool)]
    with pytest.raises(OutputError, match="one size a video"):
        FORMATS["youtube-vis"](tmp_path, video(drawn))


def test_mots_lines_do_not_overlap_and_are_read_by_pycocotools(write):
    read = np.zeros_like(MASKS)
    for line in (write("mots") / "masks.txt").read_text().splitlines():
        frame, number, kind, height, width, counts = line.split(" ")
        assert (kind, int(number) // 1000) == ("1", 1)
        code = {"size": [int(height), int(width)], "counts": counts.encode()}
        read[int(frame) // 5, int(number) % 1000 - 1] = coco_mask.decode(code)
    assert not (read[:, 0] & read[:, 1]).any()
    assert np.array_equal(read[:, 0], MASKS[:, 0])
    assert np.array_equal(read[:, 1], MASKS[:, 1] & ~MASKS[:, 0])


def test_yolo_is_read_by_supervision(write):
    folder = write("yolo")
    (folder / "images").mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / "images" / f"{5 * number:05d}.jpg"), np.zeros((*SIZE, 3), np.uint8))
    dataset = supervision.DetectionDataset.from_yolo(
        str(folder / "images"), str(folder / "labels"), str(folder / "data.yaml"), force_masks=True
    )
    assert dataset.classes == list(SENTENCES)
    for path, _, detections in dataset:
        frame = int(path.split("/")[-1].removesuffix(".jpg")) // 5
        assert set(detections.class_id) == {place for place in (0, 1) if MASKS[frame, place].any()}
        for kind, mask in zip(detections.class_id, detections.mask, strict=True):
            wanted = MASKS[frame, kind]
            assert (mask & wanted).sum() / (mask | wanted).sum() > 0.97  # corners have six digits


def test_cvat_masks_are_those_of_its_importer(write):
    """CVAT for images 1.1: a mask's rle counts the pixels of its box by rows, beginning outside."""
    root = ElementTree.parse(write("cvat") / "annotations.xml").getroot()
    assert root.findtext("version") == "1.1"
    labels = [label.findtext("name") for label in root.find("meta/task/labels")]
    assert labels == ["the red car", 'a "quoted" <dog> & \\x07 bell: é']
    read = np.zeros_like(MASKS)
    for image in root.findall("image"):
        assert (image.get("width"), image.get("height")) == ("60", "40")
        for mask in image.findall("mask"):
            left, top, width, height = (int(mask.get(key)) for key in ("left", "top", "width", "height"))
            runs = [int(run) for run in mask.get("rle").split(",")]
            inside = np.arange(len(runs)) % 2 == 1
            box = np.repeat(inside, runs).reshape(height, width)
            read[
                int(image.get("id")) // 5, labels.index(mask.get("label")), top : top + height, left : left + width
            ] = box
    assert np.array_equal(read, MASKS)


def test_davis_pictures_are_indexed_and_the_earlier_sentence_wins(write):
    folder = write("davis")
    for frame, drawn in enumerate(MASKS):
        image = Image.open(folder / f"{5 * frame:05d}.png")
        assert image.mode == "P"
        assert image.getpalette()[:6] == [0, 0, 0, 128, 0, 0]
        assert np.array_equal(np.asarray(image), without_overlap(drawn))
        assert np.array_equal(np.asarray(image) == 1, drawn[0])


@pytest.mark.parametrize(("name", "most"), [("davis", 254), ("mots", 999)])
def test_more_sentences_than_a_format_holds_are_refused(tmp_path, name, most):
    drawn = np.zeros((1, most + 1, 2, 2), bool)
    with pytest.raises(OutputError, match=f"got {most + 1} sentences"):
        FORMATS[name](tmp_path, video(drawn, ("a",) * (most + 1)))
    FORMATS[name](tmp_path, video(drawn[:, 1:], ("a",) * most))


@pytest.mark.parametrize("name", FORMATS)
def test_masks_that_are_all_empty_are_written(write, name):
    assert list(write(name, np.zeros_like(MASKS)).iterdir())


def test_segment_writes_what_is_asked_and_overwrites_it(tmp_path, capsys):
    clip = shipped_bundle().parent / "clip" / "clip.mp4"
    frames = tmp_path / "frames"
    frames.mkdir()
    capture = cv2.VideoCapture(str(clip))
    for number in range(3):
        cv2.imwrite(str(frames / f"{number}.png"), capture.read()[1])
    output = tmp_path / "out"
    command = ["segment", str(frames), "the red circle", "--threads", "1", "--output", str(output)]
    assert main([*command, *(word for name in ("png", *FORMATS) for word in ("--format", name))]) == 0
    assert {folder.name for folder in (output / "formats").iterdir()} == FORMATS.keys()
    drawn = np.stack([cv2.imread(str(output / "masks" / "0" / f"{n}.png"), cv2.IMREAD_GRAYSCALE) > 0 for n in range(3)])
    read = [np.asarray(Image.open(output / "formats" / "davis" / f"{n}.png")) == 1 for n in range(3)]
    assert np.array_equal(np.stack(read), drawn)
    (output / "formats" / "notes.txt").write_text("mine")
    assert main([*command, "--overwrite"]) == 0
    assert [entry.name for entry in (output / "formats").iterdir()] == ["notes.txt"]
