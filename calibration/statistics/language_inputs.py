"""Prompts of real videos as the language model reads them: image tokens by the bundle's own CLIP graph, whole prompts."""

from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from glus_edge.calibration.videos.calibration_video import CalibrationVideo
from glus_edge.runtime.backends.engine import Backend, Engine
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.language.conversation import Conversation, check_sentence, rows_from_prompt
from glus_edge.runtime.pixels.preprocess import clip_pixels
from glus_edge.runtime.policies.context import uniform_context
from glus_edge.runtime.video.frame import Frame


def language_inputs(
    bundle: Bundle, backend: Backend, videos: Sequence[CalibrationVideo], prompts: int
) -> Iterator[NDArray[np.float32]]:
    """Up to `prompts` prompts: [rows, language_width] each. Every video's first sentence comes before any second one.

    A prompt has all the turns a window holds, so that answered turns and the open one are both seen. Errors: those of the
    videos and of `check_sentence`.
    """
    asked = [(video, turn) for turn in range(max(len(video.sentences) for video in videos)) for video in videos]
    table, tokenizer = bundle.token_embedding(), bundle.tokenizer()
    window, per_image = bundle.manifest.window, bundle.manifest.model.image_tokens
    with closing(backend.open("clip_encoder")) as encoder:
        for video, turn in [(video, turn) for video, turn in asked if turn < len(video.sentences)][:prompts]:
            check_sentence(video.sentences[turn], bundle.manifest.prompt)
            images = np.concatenate([_tokens(bundle, encoder, frame) for frame in _frames(bundle, video, turn)])
            conversation = Conversation(video.sentences[turn], bundle.manifest.prompt, tokenizer, window.context_frames)
            text = conversation.text(window.query_frames - 1)
            rows = rows_from_prompt(text, list(range(text.image_count)), per_image)
            image = images[np.where(rows < 0, -1 - rows, 0)]
            yield np.where(rows[:, None] < 0, image, table[np.maximum(rows, 0)]).astype(np.float32)


def _frames(bundle: Bundle, video: CalibrationVideo, turn: int) -> list[Frame]:
    """The context frames and one window of query frames, a later window for a later sentence."""
    window = bundle.manifest.window
    with closing(video.open()) as opened:
        context = uniform_context(opened.frame_count, window.context_frames)
        first = turn * window.query_frames % max(1, opened.frame_count - window.query_frames + 1)
        query = [min(first + n, opened.frame_count - 1) for n in range(window.query_frames)]
        return [opened.read(index) for index in (*context, *query)]


def _tokens(bundle: Bundle, encoder: Engine, frame: Frame) -> NDArray[np.float32]:
    """[image_tokens, language_width] of one frame."""
    model = bundle.manifest.model
    tokens = np.empty((1, model.image_tokens, model.language_width), encoder.signature.outputs[0].dtype)
    pixels = np.ascontiguousarray(clip_pixels(frame.rgb, bundle.manifest.clip)[None])
    encoder.run({"clip_pixels": pixels}, {"image_tokens": tokens})
    return np.asarray(tokens[0], np.float32)
