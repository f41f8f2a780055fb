"""The reference algorithm in torch: what GLUS's own inference computes, on this machine, one sentence at a time.

For every frame CLIP on the context frames and the whole query window, the whole prompt through LLaMA without a cache,
then SAM 2 with stock modules; float32. Pictures are made ready once per frame, as the reference does it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from glus_edge.benchmarks.reference_language import ReferenceLanguage
from glus_edge.benchmarks.reference_sam2 import ReferenceSam2
from glus_edge.export.checkpoint import Checkpoint
from glus_edge.export.vision_tower import VisionTower
from glus_edge.runtime.bundle import Bundle
from glus_edge.runtime.context import uniform_context
from glus_edge.runtime.conversation import Conversation, rows_from_prompt
from glus_edge.runtime.errors import CheckpointError
from glus_edge.runtime.frame import Frame
from glus_edge.runtime.preprocess import clip_pixels, sam_pixels
from glus_edge.runtime.stopwatch import Stopwatch
from glus_edge.runtime.video import Video


@dataclass(frozen=True)
class ReferenceSource:
    """Where the model lies that a bundle was exported from."""

    checkpoint: Path
    vision_tower: Path
    sam2_config: str


@dataclass(frozen=True, eq=False)
class ReferenceResult:
    """One frame."""

    index: int
    mask: NDArray[np.bool_]  # [H, W]
    segmented: bool  # the language model answered [SEG]
    timings: dict[str, float]  # milliseconds per stage


class Reference:
    """A model, resident."""

    def __init__(self, source: ReferenceSource, bundle: Bundle) -> None:
        """`bundle` gives prompt, tokenizer and settings. CheckpointError: not the model it was exported from."""
        self._manifest = bundle.manifest
        self._tokenizer = bundle.tokenizer()
        self._stopwatch = Stopwatch()
        checkpoint, tower = Checkpoint.open(source.checkpoint), VisionTower.open(source.vision_tower)
        model, config = self._manifest.model, checkpoint.config
        found = (config.hidden_size, config.layers, config.vocabulary_size, tower.config.image_size)
        wanted = (model.language_width, model.language_layers, model.vocabulary_size, model.clip_size)
        if found != wanted:
            raise CheckpointError(
                f"{source.checkpoint}: got width, layers, vocabulary and CLIP size {found}, expected {wanted} as "
                f"{bundle.directory} has; give the checkpoint the bundle was exported from"
            )
        gamma = self._manifest.provenance.get("fuser_gamma", "").startswith("reference")
        self._language = ReferenceLanguage(checkpoint, tower)
        self._sam2 = ReferenceSam2(checkpoint, source.sam2_config, gamma, self._manifest.memory, self._stopwatch)

    @torch.inference_mode()
    def segment(self, video: Video, sentence: str) -> Iterator[ReferenceResult]:
        """The masks of every frame, from the first."""
        settings, tokens = self._manifest.window, self._manifest.model.image_tokens
        conversation = Conversation(sentence, self._manifest.prompt, self._tokenizer, settings.context_frames)
        context = uniform_context(video.frame_count, settings.context_frames)
        pictures = [self._clip_pixels(video.read(index)) for index in context]
        window: list[torch.Tensor] = []
        self._sam2.reset()
        for step, frame in enumerate(video.frames()):
            with self._stopwatch.stage("preprocess"):
                window = [*window, self._clip_pixels(frame)][-settings.query_frames :]
                pixels = torch.from_numpy(sam_pixels(frame.rgb, self._manifest.sam))[None]
            with self._stopwatch.stage("clip_encoder"):
                images = self._language.image_tokens(torch.stack([*pictures, *window]))
            with self._stopwatch.stage("language_model"):
                text = conversation.text(len(window) - 1)
                rows = torch.from_numpy(rows_from_prompt(text, list(range(len(images))), tokens))
                embeddings = self._language.token_embeddings(rows.clamp(min=0))
                embeddings[rows < 0] = images.flatten(0, 1)
                segment_embedding, next_token = self._language.ask(embeddings)
            mask = np.zeros(frame.size, np.bool_)
            segmented = next_token == self._manifest.prompt.segment_token_id
            if segmented:
                mask = self._sam2.track(step, pixels, segment_embedding, frame.size).numpy()
            yield ReferenceResult(frame.index, mask, segmented, self._stopwatch.take())

    def _clip_pixels(self, frame: Frame) -> torch.Tensor:
        return torch.from_numpy(clip_pixels(frame.rgb, self._manifest.clip))
