"""Prompts of real clips as the language model reads them: image tokens by the bundle's own CLIP graph, whole prompts."""

from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from glus_edge.calibration.clips import Clip
from glus_edge.runtime.bundle import Bundle
from glus_edge.runtime.context import uniform_context
from glus_edge.runtime.conversation import Conversation, check_sentence, rows_from_prompt
from glus_edge.runtime.engine import Backend
from glus_edge.runtime.preprocess import clip_pixels


def language_inputs(
    bundle: Bundle, backend: Backend, clips: Sequence[Clip], prompts: int
) -> Iterator[NDArray[np.float32]]:
    """Up to `prompts` prompts, spread over clips and sentences: [rows, language_width] each.

    Every prompt has all the turns a window holds, so that answered turns and open ones are both seen. Errors: those of
    the clips and of `check_sentence`.
    """
    window, table = bundle.manifest.window, bundle.token_embedding()
    tokenizer, made, turn = bundle.tokenizer(), 0, 0
    engine = backend.open("clip_encoder")
    try:
        while made < prompts:
            before = made
            for clip in clips:
                if turn >= len(clip.sentences) or made == prompts:
                    continue
                check_sentence(clip.sentences[turn], bundle.manifest.prompt)
                with closing(clip.open()) as video:
                    context = uniform_context(video.frame_count, window.context_frames)
                    first = (turn * window.query_frames) % max(1, video.frame_count - window.query_frames + 1)
                    query = [min(first + n, video.frame_count - 1) for n in range(window.query_frames)]
                    frames = {index: video.read(index) for index in (*context, *query)}
                tokens = []
                for frame in frames.values():
                    output = np.empty(
                        (1, bundle.manifest.model.image_tokens, bundle.manifest.model.language_width),
                        engine.signature.outputs[0].dtype,
                    )
                    pixels = clip_pixels(frame.rgb, bundle.manifest.clip)[None]
                    engine.run({"clip_pixels": np.ascontiguousarray(pixels)}, {"image_tokens": output})
                    tokens.append(output[0].astype(np.float32))
                images = dict(zip(frames, tokens, strict=True))
                conversation = Conversation(
                    clip.sentences[turn], bundle.manifest.prompt, tokenizer, window.context_frames
                )
                order = [*context, *query]
                places = list(range(len(order)))
                rows = rows_from_prompt(
                    conversation.text(window.query_frames - 1), places, bundle.manifest.model.image_tokens
                )
                shown = np.concatenate([images[index] for index in order])
                image = shown[np.where(rows < 0, -1 - rows, 0)]
                yield np.where(rows[:, None] < 0, image, table[np.maximum(rows, 0)]).astype(np.float32)
                made += 1
            turn += 1
            if made == before:
                return
    finally:
        engine.close()
