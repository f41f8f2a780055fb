"""Live video: frames in, masks out, nothing known of what comes. The context is chosen from the past."""

from glus_edge.runtime.context import CausalContext
from glus_edge.runtime.direction import Direction
from glus_edge.runtime.frame import Frame
from glus_edge.runtime.result import FrameResult


class LiveSession:
    """One stream of frames and its sentences. Memory does not grow with the stream."""

    def __init__(self, direction: Direction, context_frames: int) -> None:
        self._session = direction.session
        self._context = CausalContext(context_frames)
        self._direction = direction
        self._index = 0

    def push(self, rgb: object) -> FrameResult:
        """The masks of the next frame, uint8 [H, W, 3]; frames may differ in size.

        A numpy array, or any object with `__dlpack__` or `__cuda_array_interface__`. CUDA memory is read in place where
        pixels are made on the device, behind what its producer has enqueued; it may be written again when this returns.
        InputError: it is no such picture.
        """
        frame = Frame(self._index, 0.0, self._session.picture(rgb))
        context = self._context.see(self._index)
        self._index += 1
        self._session.tokens.add(frame)
        if context is not None:
            self._session.read_context(context)
        self._session.tokens.pin(frozenset(self._context.kept) | frozenset(context or ()))
        result = self._direction.step(frame)
        self._session.let_go()
        return result
