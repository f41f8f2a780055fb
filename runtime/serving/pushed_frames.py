"""A client's own frames as a live source: the newest one, each time."""

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.video.image import PictureError, image_from_bytes
from glus_edge.runtime.video.live_source import LiveFrame
from glus_edge.runtime.video.picture_size import LARGEST_PICTURE


class PushedFrames:
    """Iterate it in one thread, `put` in another. One picture is held, not yet decoded."""

    def __init__(
        self,
        refused: Callable[[InputError], None],
        clock: Callable[[], float] = time.perf_counter,
        largest: int = LARGEST_PICTURE,
    ) -> None:
        """`refused` is told of what is no picture; the frame is passed over.

        `clock`: seconds, as `LiveFrame.arrived`. `largest`: pixels of a picture.
        """
        self._refused, self._clock, self._largest = refused, clock, largest
        self._news = threading.Condition()
        self._newest: tuple[bytes, int, float] | None = None
        self._count = 0
        self._closed = False

    def put(self, data: bytes) -> None:
        """A JPEG, PNG or WebP file."""
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
                rgb = picture_from_bytes(data, self._largest)
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


def picture_from_bytes(data: bytes, largest: int = LARGEST_PICTURE) -> NDArray[np.uint8]:
    """A JPEG, PNG or WebP file as uint8 [H, W, 3], RGB, turned by its EXIF orientation.

    InputError: it is none, damaged, or has more than `largest` pixels.
    """
    try:
        return image_from_bytes(data, largest)
    except PictureError as error:
        raise InputError(f"frame: {error}") from error
