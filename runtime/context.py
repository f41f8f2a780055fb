"""Which frames of the whole video the language model sees beside the ones it is asked about."""


def uniform_context(frame_count: int, context_frames: int) -> tuple[int, ...]:
    """One frame near the middle of each of `context_frames` equal parts (the reference's `inference_video`).

    Edges are linspace(0, N, context_frames + 1) cut to integers; frame j = min(edge_j + ceil(N / context_frames) // 2,
    edge_{j+1} - 1). The reference skips videos with fewer frames than that; here a part without a frame gives the frame
    at its edge, so that any video can be asked.
    """
    edges = [frame_count * part // context_frames for part in range(context_frames + 1)]
    offset = -(-frame_count // context_frames) // 2
    return tuple(max(0, min(edges[j] + offset, edges[j + 1] - 1)) for j in range(context_frames))
