"""Which frames the language model sees beside the ones it is asked about."""


def uniform_context(frame_count: int, context_frames: int) -> tuple[int, ...]:
    """One frame near the middle of each of `context_frames` equal parts (the reference's `inference_video`).

    Edges are linspace(0, N, context_frames + 1) cut to integers; frame j = min(edge_j + ceil(N / context_frames) // 2,
    edge_{j+1} - 1). The reference skips videos with fewer frames than that; here a part without a frame gives the frame
    at its edge, so that any video can be asked.
    """
    if not context_frames:
        return ()
    edges = [frame_count * part // context_frames for part in range(context_frames + 1)]
    offset = -(-frame_count // context_frames) // 2
    return tuple(max(0, min(edges[j] + offset, edges[j + 1] - 1)) for j in range(context_frames))


class CausalContext:
    """Context frames for live video: chosen from the past alone, and chosen again each time it has doubled.

    At a choice after N frames they are `uniform_context` of those N, so the training's shape is kept; between choices they
    stay, and so does the shared prefix of keys and values. Of the past at most 2 * context_frames frames are kept: those at
    multiples of a stride that doubles when there are more.
    """

    def __init__(self, context_frames: int) -> None:
        self._count = context_frames
        self._seen = 0
        self._next_choice = 1
        self._stride = 1
        self.kept: list[int] = []  # indices a later choice may need

    def see(self, index: int) -> tuple[int, ...] | None:
        """Takes notice of the next frame (indices count from 0); the new context frames if it is time to choose."""
        assert index == self._seen, f"got frame {index}, expected {self._seen}"
        self._seen += 1
        if index % self._stride == 0:
            self.kept.append(index)
        if len(self.kept) > 2 * self._count:
            self._stride *= 2
            self.kept = [frame for frame in self.kept if frame % self._stride == 0]
        if self._seen < self._next_choice:
            return None
        self._next_choice = 2 * self._seen
        return tuple(
            min(self.kept, key=lambda frame: abs(frame - wanted)) for wanted in uniform_context(self._seen, self._count)
        )
