"""A client's own frames as a live source: the newest one, each time."""

import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.video.image import image_from_bytes
from glus_edge.runtime.video.live_source import LiveFrame

LARGEST_FRAME = 4096 * 4096  # pixels; a small file can hold a picture that fills the memory
LARGEST_RATIO = 64  # of the longer side to the shorter: the shorter is enlarged to what the image towers see


class PushedFrames:
    """Iterate it in one thread, `put` in another. One picture is held, not yet decoded."""

    def __init__(self, refused: Callable[[InputError], None], clock: Callable[[], float] = time.perf_counter) -> None:
        """`refused` is told of what is no picture; the frame is passed over. `clock`: seconds, as `LiveFrame.arrived`."""
        self._refused, self._clock = refused, clock
        self._news = threading.Condition()
        self._newest: tuple[bytes, int, float] | None = None
        self._count = 0
        self._closed = False

    def put(self, data: bytes) -> None:
        """A JPEG or PNG file."""
        with self._news:
            self._newest = (data, self._count, self._clock())
            self._count += 1
            self._news.notify()

    def close(self) -> None:
        """Ends the iteration; a frame that waits is dropped."""
        with self._news:
            self._closed = True
            self._news.notify()

    def __iter__(self) -> Iterator[LiveFrame]:
        """Until closed; `time` is since the first frame taken."""
        begin: float | None = None
        while (newest := self._take()) is not None:
            data, number, arrived = newest
            try:
                rgb = picture_from_bytes(data)
            except InputError as error:
                self._refused(error)
                continue
            begin = arrived if begin is None else begin
            yield LiveFrame(rgb, number, arrived - begin, arrived)

    def _take(self) -> tuple[bytes, int, float] | None:
        with self._news:
            self._news.wait_for(lambda: self._newest is not None or self._closed)
            newest, self._newest = self._newest, None
            return None if self._closed else newest


def picture_from_bytes(data: bytes) -> NDArray[np.uint8]:
    """A JPEG or PNG file as uint8 [H, W, 3], RGB, upright. InputError: it is none, damaged, or too large."""
    try:
        with Image.open(BytesIO(data), formats=("JPEG", "PNG")) as header:
            width, height = header.size
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"frame: got {len(data)} bytes that are no picture, expected a JPEG or PNG file") from error
    if width * height > LARGEST_FRAME:
        raise InputError(f"frame: got {width} x {height} pixels, expected at most {LARGEST_FRAME}; make it smaller")
    if max(width, height) > LARGEST_RATIO * min(width, height):
        raise InputError(
            f"frame: got {width} x {height} pixels, expected sides of 1 : {LARGEST_RATIO} at most; crop it"
        )
    image = image_from_bytes(data)
    if image is None:
        raise InputError("frame: got a damaged or cut-off picture, expected a whole JPEG or PNG file")
    return image
