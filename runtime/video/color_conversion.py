"""A decoded picture as a player shows it: its colours converted to RGB, turned the right way up."""

from collections.abc import Mapping
from typing import cast

import numpy as np
from av.buffer import Buffer
from av.video.frame import VideoFrame
from numpy.typing import NDArray

# Colour matrices and ranges as H.273 and FFmpeg number them.
_BT709, _BT601, _LIMITED, _FULL = 1, 5, 1, 2
_MATRICES = (_BT709, 4, _BT601, 6, 7, 9)  # those the converter knows; any other is taken for BT.601, as FFmpeg does


def upright_rgb(frame: VideoFrame) -> NDArray[np.uint8]:
    """uint8 [H, W, 3], turned and mirrored as the file's display matrix says. Alpha is dropped."""
    rgb = _rgb(frame)
    matrix = cast("Mapping[str, Buffer]", frame.side_data).get("DISPLAYMATRIX")
    if matrix is None:
        return rgb
    # x' = a x + c y, y' = b x + d y (libavutil/display.h). Players turn by quarters only, and so do we.
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5]
    if abs(int(a)) < abs(int(b)):
        rgb = rgb.transpose(1, 0, 2)
        a, d = c, b
    return np.ascontiguousarray(rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _rgb(frame: VideoFrame) -> NDArray[np.uint8]:
    matrix = frame.colorspace if frame.colorspace in _MATRICES else _BT601
    full = frame.color_range == _FULL or frame.format.name.startswith("yuvj")
    # WAR(PyAV < 17): the source's matrix and range are heeded only if all four are given and the target's matrix,
    # which means nothing for RGB, is another one.
    rgb = frame.to_ndarray(
        format="rgb24",
        src_colorspace=matrix,
        dst_colorspace=_BT601 if matrix == _BT709 else _BT709,
        src_color_range=_FULL if full else _LIMITED,
        dst_color_range=_FULL,
    )
    return np.asarray(rgb, np.uint8)
