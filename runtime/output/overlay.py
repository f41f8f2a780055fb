"""overlay.mp4: the video with every sentence's mask drawn over it."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np
from av.video.frame import PictureType
from av.video.stream import VideoStream
from numpy.typing import NDArray

from glus_edge.runtime.errors import OutputError
from glus_edge.runtime.output.legend import draw_legend, sentence_colour
from glus_edge.runtime.video.frame import Frame

Picture = NDArray[np.uint8]  # [H, W, 3], RGB
Masks = NDArray[np.bool_]  # [sentences, H, W]

OPACITY = 0.45  # of a mask's filling
_CLOCK = 90_000  # ticks per second of the overlay's time stamps
_KEY_FRAME_TICKS = 2 * _CLOCK  # from key frame to key frame, at most: with each a fragment begins
_WHOLE = {"movflags": "+faststart"}
_FRAGMENTED = {"movflags": "+frag_keyframe+empty_moov+default_base_moof+hybrid_fragmented", "flush_packets": "1"}
_BT709 = 1  # the matrix, primaries and transfer of HD video, as H.264 numbers them
_LIMITED = 1  # luma from 16 to 235, as every player expects


class OverlayWriter:
    """Writes H.264 in MP4 with the frames' own times; the first frame sets the size, others are fitted into it.

    Use it as a context manager: leaving the block finishes the file.
    """

    def __init__(
        self, path: Path, sentences: tuple[str, ...], frame_rate: Fraction, *, fragmented: bool = False
    ) -> None:
        """`path` may have any suffix. Errors: OSError if the file system refuses.

        `fragmented`: what was written plays, but for the last seconds, even if the process is killed or the disk is full. The
        finished file is an ordinary one, with its index at the end; without `fragmented` it is at the beginning.
        """
        self._sentences, self._frame_rate, self._fragmented = sentences, frame_rate, fragmented
        self._container = av.open(str(path), "w", format="mp4", options=_FRAGMENTED if fragmented else _WHOLE)
        self._stream: VideoStream | None = None
        self._begin, self._last, self._key = 0.0, -1, -_KEY_FRAME_TICKS

    def write(self, frame: Frame, masks: Masks) -> None:
        """The next frame. OutputError: there is no H.264 encoder."""
        picture = draw_legend(draw_masks(frame.rgb, masks), self._sentences)
        if self._stream is None:
            self._stream = self._opened_stream(picture, frame.pixel_aspect)
            self._begin = frame.time
        fitted = _fitted(picture, self._stream.height, self._stream.width)
        encoded = av.VideoFrame.from_ndarray(fitted, format="rgb24").reformat(format="yuv420p", dst_colorspace="ITU709")
        self._last = max(self._last + 1, round((frame.time - self._begin) * _CLOCK))
        encoded.pts, encoded.time_base = self._last, Fraction(1, _CLOCK)
        if self._last - self._key >= _KEY_FRAME_TICKS:
            encoded.pict_type, self._key = PictureType.I, self._last
        self._container.mux(self._stream.encode(encoded))

    def _opened_stream(self, picture: Picture, pixel_aspect: Fraction) -> VideoStream:
        # The head of a fragmented file cannot tell by how much frames out of order are late: there are none.
        options = {"bf": "0"} if self._fragmented else {}
        return _stream(self._container, self._frame_rate, picture, pixel_aspect, options)

    def __enter__(self) -> "OverlayWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._stream is not None and kind is None:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()


def write_overlay(
    path: Path,
    frames: Iterable[Frame],
    masks: Callable[[Frame], Masks],
    sentences: tuple[str, ...],
    frame_rate: Fraction,
) -> None:
    """All of a video at once. Errors: those of `OverlayWriter`."""
    with OverlayWriter(path, sentences, frame_rate) as writer:
        for frame in frames:
            writer.write(frame, masks(frame))


def draw_masks(rgb: Picture, masks: Masks) -> Picture:
    """The picture with each mask as a translucent area with a contour, in its sentence's colour."""
    drawn = np.array(rgb, np.uint8, order="C")
    thickness = max(1, round(min(rgb.shape[:2]) / 300))
    for sentence, mask in enumerate(masks):
        area = mask.astype(np.uint8)
        left, top, width, height = cv2.boundingRect(area)
        if not width:
            continue
        box = np.s_[top : top + height, left : left + width]
        inside, colour = area[box], sentence_colour(sentence)
        filled = cv2.addWeighted(drawn[box], 1 - OPACITY, np.full_like(drawn[box], colour), OPACITY, 0)
        cv2.copyTo(filled, inside, drawn[box])
        contours, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, contours, -1, colour, thickness, offset=(left, top))
    return drawn


def _stream(
    container: av.container.OutputContainer,
    frame_rate: Fraction,
    picture: Picture,
    pixel_aspect: Fraction,
    options: dict[str, str],
) -> VideoStream:
    try:
        stream = container.add_stream(
            "libx264", rate=frame_rate, options={"crf": "20", "preset": "veryfast", **options}
        )
    except ValueError as error:
        raise OutputError(
            "overlay: this build of PyAV has no libx264, expected one that writes H.264; pip install --force-reinstall av"
        ) from error
    # H.264's half-size colour planes need even sides.
    stream.height, stream.width = (side + side % 2 for side in picture.shape[:2])
    stream.pix_fmt = "yuv420p"
    codec = stream.codec_context
    codec.time_base = Fraction(1, _CLOCK)
    if pixel_aspect != 1:
        codec.sample_aspect_ratio = pixel_aspect
    codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
    codec.color_range = _LIMITED
    return stream


def _fitted(picture: Picture, height: int, width: int) -> Picture:
    """The picture in a frame of that size: padded by its last row and column if it is odd, else shrunk or enlarged."""
    own_height, own_width = picture.shape[:2]
    bottom, right = height - own_height, width - own_width
    if bottom in (0, 1) and right in (0, 1):
        return np.asarray(cv2.copyMakeBorder(picture, 0, bottom, 0, right, cv2.BORDER_REPLICATE), np.uint8)
    scale = min(height / own_height, width / own_width)
    new_height, new_width = (max(1, round(side * scale)) for side in (own_height, own_width))
    resized = cv2.resize(picture, (new_width, new_height), interpolation=cv2.INTER_AREA)
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - new_height) // 2, (width - new_width) // 2
    canvas[top : top + new_height, left : left + new_width] = resized
    return canvas
