import av
import numpy as np
import pytest

from glus_edge.runtime.video.color_conversion import upright_rgb

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
    rgb = upright_rgb(flat(pixels, matrix, range_))
    assert rgb.shape == (48, 64, 3)
    # The converter works with tables; the wrong matrix or range would be off by five or more.
    assert np.abs(rgb - converted(matrix, full)).max() <= 3


def test_a_video_that_names_no_matrix_is_taken_for_bt601() -> None:
    assert np.abs(upright_rgb(flat("yuv420p", 2, 0)) - converted(5, full=False)).max() <= 2
