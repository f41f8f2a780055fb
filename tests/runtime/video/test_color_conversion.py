import gc
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from glus_edge.runtime.video.color_conversion import displayed_rgb

LUMA_WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}  # red, blue: H.273
YUV = (100, 110, 170)


def converted(matrix: int, full: bool) -> np.ndarray:
    """The colour of YUV by the definition of its matrix and range."""
    red_weight, blue_weight = LUMA_WEIGHTS[matrix]
    if full:
        luma, blue, red = YUV[0] / 255, (YUV[1] - 128) / 255, (YUV[2] - 128) / 255
    else:
        luma, blue, red = (YUV[0] - 16) / 219, (YUV[1] - 128) / 224, (YUV[2] - 128) / 224
    r = luma + 2 * (1 - red_weight) * red
    b = luma + 2 * (1 - blue_weight) * blue
    g = (luma - red_weight * r - blue_weight * b) / (1 - red_weight - blue_weight)
    return 255 * np.array([r, g, b])


def flat(pixels: str, matrix: int, range_: int) -> av.VideoFrame:
    frame = av.VideoFrame(64, 48, pixels)
    for plane, value in zip(frame.planes, YUV, strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    frame.colorspace, frame.color_range = matrix, range_
    return frame


@pytest.mark.parametrize("matrix", [1, 5, 6, 9])
@pytest.mark.parametrize(
    ("pixels", "range_", "full"),
    [("yuv420p", 0, False), ("yuv420p", 1, False), ("yuv444p", 2, True), ("yuvj420p", 0, True)],
)
def test_colours_follow_the_matrix_and_range_of_the_video(matrix: int, pixels: str, range_: int, full: bool) -> None:
    rgb = displayed_rgb(flat(pixels, matrix, range_))
    assert rgb.shape == (48, 64, 3)
    # The converter works with tables; the wrong matrix or range would be off by five or more.
    assert np.abs(rgb - converted(matrix, full)).max() <= 3


def test_a_video_that_names_no_matrix_is_taken_for_bt601() -> None:
    assert np.abs(displayed_rgb(flat("yuv420p", 2, 0)) - converted(5, full=False)).max() <= 2


@pytest.mark.parametrize(
    ("orientation", "quarter_turned"), [(1, False), (2, False), (3, False), (4, False), (5, True), (6, True), (8, True)]
)
def test_a_photo_read_as_a_video_is_turned_and_mirrored_by_its_exif(
    tmp_path: Path, orientation: int, quarter_turned: bool
) -> None:
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:16, :16] = 255  # the corner that tells
    Image.fromarray(stored).save(path, exif=exif, quality=95)
    with av.open(str(path)) as container:
        rgb = displayed_rgb(next(container.decode(video=0)))
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    assert rgb.shape == wanted.shape == ((48, 32, 3) if quarter_turned else (32, 48, 3))
    assert np.abs(rgb.astype(int) - wanted).max() < 12


def test_a_frame_is_freed_as_soon_as_it_is_dropped(write_video: Callable[..., Path]) -> None:
    path = write_video(frames=30)
    gc.collect()
    gc.disable()  # reference counts alone must do
    try:
        before = sum(type(each) is av.VideoFrame for each in gc.get_objects())
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                displayed_rgb(frame)
        assert sum(type(each) is av.VideoFrame for each in gc.get_objects()) <= before + 4
    finally:
        gc.enable()
