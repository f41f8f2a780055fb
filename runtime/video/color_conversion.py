"""A decoded picture as a player shows it: its colours converted to RGB, turned and mirrored as its file says."""

from collections.abc import Mapping
from fractions import Fraction
from typing import cast

import numpy as np
from av.buffer import Buffer
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from glus_edge.runtime.errors import VideoError
from glus_edge.runtime.video.picture_size import size_refusal

# Colour matrices and ranges as H.273 and FFmpeg number them.
_BT709, _BT601, _LIMITED, _FULL = 1, 5, 1, 2
_MATRICES = (_BT709, 4, _BT601, 6, 7, 9)  # those the converter knows; any other is taken for BT.601, as FFmpeg does
_SQUARE = Fraction(1)
_WIDEST_PIXEL = 64  # times as wide as high, or as high as wide; beyond it a file states nonsense


def _unknown_type(cls: type[Type], value: object) -> Type:
    member = object.__new__(cls)
    member._name_, member._value_ = f"UNKNOWN_{value}", cast("Type", value)
    return member


# WAR(PyAV 18): its list of side data ends before FFmpeg's, and reading any of a frame's fails at one not listed.
Type._missing_ = classmethod(_unknown_type)  # type: ignore[assignment,method-assign]


def displayed_rgb(frame: VideoFrame) -> NDArray[np.uint8]:
    """uint8 [H, W, 3], turned and mirrored as the file's display matrix says. Alpha is dropped.

    Errors: VideoError for a picture larger than any reader takes.
    """
    refusal = size_refusal(frame.width, frame.height)
    if refusal is not None:
        raise VideoError(f"a frame of the video: {refusal}")
    rgb = _rgb(frame)
    matrix = _display_matrix(frame)
    if matrix is None:
        return rgb
    # x' = a x + c y, y' = b x + d y (libavutil/display.h). Players turn by quarters only, and so do we.
    a, b, c, d = matrix
    if abs(a) < abs(b):
        rgb = rgb.transpose(1, 0, 2)
        a, d = c, b
    return np.ascontiguousarray(rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def pixel_aspect(frame: VideoFrame, stream: VideoStream) -> Fraction:
    """Width of a displayed pixel by its height; 1 where the file says nothing, or nothing sensible."""
    stated = stream.sample_aspect_ratio
    if not stated or not Fraction(1, _WIDEST_PIXEL) <= stated <= _WIDEST_PIXEL:
        return _SQUARE
    matrix = _display_matrix(frame)
    turned = matrix is not None and abs(matrix[0]) < abs(matrix[1])
    return 1 / Fraction(stated) if turned else Fraction(stated)


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int] | None:
    # `frame.side_data` would keep the container in the frame, a circle that leaves every frame to the garbage collector.
    side_data = cast("Mapping[str, Buffer]", SideDataContainer(frame))  # type: ignore[call-arg]
    found = side_data.get("DISPLAYMATRIX")
    if found is None or found.buffer_size < 5 * 4:
        return None
    a, b, _, c, d = (int(entry) for entry in np.frombuffer(bytes(found), np.int32)[:5])
    return a, b, c, d


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
