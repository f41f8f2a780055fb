"""A client's frames: the newest one, each time."""

import io
import itertools
import struct
import threading
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from glus_edge.runtime import InputError
from glus_edge.runtime.serving.pushed_frames import PushedFrames, picture_from_bytes
from glus_edge.runtime.video.picture_size import LARGEST_PICTURE


def encoded(shade, suffix=".png", size=(8, 12)):
    return cv2.imencode(suffix, np.full((*size, 3), shade, np.uint8))[1].tobytes()


def frames_of(*data):
    refused = []
    frames = PushedFrames(refused.append, itertools.count().__next__)
    for each in data:
        frames.put(each)
    return frames, refused


def test_the_newest_is_taken_and_the_others_are_passed_over():
    frames, refused = frames_of(encoded(1), encoded(2), encoded(3))
    taken = iter(frames)
    first = next(taken)
    assert (first.number, first.arrived, first.time) == (2, 2, 0)
    assert (first.rgb == 3).all()
    frames.put(encoded(4))
    second = next(taken)
    assert (second.number, second.arrived, second.time) == (3, 3, 1)
    assert not refused


def test_what_is_no_picture_is_refused_and_counted():
    frames, refused = frames_of(b"not a picture")
    done = []
    thread = threading.Thread(target=lambda: done.extend(frames))
    thread.start()
    while not refused:
        thread.join(0.01)
    frames.put(encoded(5))
    while not done:
        thread.join(0.01)
    frames.close()
    thread.join(10)
    assert [(each.number, int(each.rgb[0, 0, 0])) for each in done] == [(1, 5)]
    assert len(refused) == 1


def test_closing_ends_the_iteration_and_drops_what_waits():
    frames, _ = frames_of(encoded(1))
    frames.close()
    assert list(frames) == []


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_both_formats_are_read(suffix):
    assert np.abs(picture_from_bytes(encoded(100, suffix)).astype(int) - 100).max() <= 2


def test_colours_are_rgb_and_exif_turns_the_picture():
    picture = Image.new("RGB", (12, 8), (250, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    file = io.BytesIO()
    picture.save(file, "JPEG", exif=exif)
    rgb = picture_from_bytes(file.getvalue())
    assert rgb.shape == (12, 8, 3)
    assert rgb[..., 0].min() > 240
    assert rgb[..., 2].max() < 10


def test_a_small_file_of_a_huge_picture_is_refused_before_it_is_decoded():
    side = 1 + int(LARGEST_PICTURE**0.5)

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(InputError, match="expected at most"):
        picture_from_bytes(data)


@pytest.mark.parametrize("kept", [0.3, 0.9])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_cut_off_picture_is_refused(suffix, kept):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = cv2.imencode(suffix, noise)[1].tobytes()
    with pytest.raises(InputError, match="frame: got"):
        picture_from_bytes(data[: int(kept * len(data))])


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", encoded(3)[:40]]))
def test_whatever_bytes_come_the_error_is_one_of_ours(data, begin):
    with pytest.raises(InputError, match="frame: got"):
        picture_from_bytes(begin + data)


@pytest.mark.parametrize("size", [(65_000, 1), (1, 8192)])
def test_a_strip_that_would_be_enlarged_without_bounds_is_refused(size: tuple[int, int]) -> None:
    data = cv2.imencode(".png", np.zeros((*size, 3), np.uint8))[1].tobytes()
    with pytest.raises(InputError, match=r"expected sides of 1 : 256 at most"):
        picture_from_bytes(data)


def test_the_server_may_take_smaller_pictures_only():
    refused = []
    frames = PushedFrames(refused.append, largest=11)
    frames.put(cv2.imencode(".png", np.zeros((3, 4, 3), np.uint8))[1].tobytes())
    taken = iter(frames)
    threading.Timer(0.1, frames.close).start()
    assert next(taken, None) is None
    assert "got a picture of 4 x 3 pixels, expected at most 11 pixels" in str(refused[0])
