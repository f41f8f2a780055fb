"""Live video: frames in, masks out, nothing known of what comes. The context is chosen from the past."""

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.context import CausalContext
from glus_edge.runtime.direction import Direction
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.frame import Frame
from glus_edge.runtime.result import FrameResult


class LiveSession:
    """One stream of frames and its sentences. Memory does not grow with the stream."""

    def __init__(self, direction: Direction, context_frames: int) -> None:
        self._session = direction.session
        self._context = CausalContext(context_frames)
        self._direction = direction
        self._index = 0

    def push(self, rgb: NDArray[np.uint8]) -> FrameResult:
        """The masks of the next frame, uint8 [H, W, 3]; frames may differ in size. InputError: it is no such array."""
        if (
            not isinstance(rgb, np.ndarray)
            or rgb.dtype != np.uint8
            or rgb.ndim != 3
            or rgb.shape[2] != 3
            or not rgb.size
        ):
            got = f"{rgb.dtype} {list(rgb.shape)}" if isinstance(rgb, np.ndarray) else type(rgb).__name__
            raise InputError(f"frame: got {got}, expected uint8 [H, W, 3], RGB")
        frame = Frame(self._index, 0.0, rgb)
        context = self._context.see(self._index)
        self._index += 1
        self._session.tokens.add(frame)
        if context is not None:
            self._session.read_context(context)
        self._session.tokens.pin(frozenset(self._context.kept) | frozenset(context or ()))
        return self._direction.step(frame)
