"""The reference algorithm in torch: what GLUS's own inference computes, on this machine, one sentence at a time.

For every frame CLIP on the context frames and the whole query window, the whole prompt through LLaMA without a cache,
then SAM 2 with stock modules. Pictures are made ready once per frame, as the reference does it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from glus_edge.benchmarks.reference.reference_language import ReferenceLanguage
from glus_edge.benchmarks.reference.reference_sam2 import ReferenceSam2
from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.export.checkpoint.sam2_config import sam2_config
from glus_edge.export.checkpoint.vision_tower import VisionTower
from glus_edge.export.vision.sam2_model import build_sam2, load_weights
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.errors import CheckpointError
from glus_edge.runtime.language.conversation import Conversation, rows_from_prompt
from glus_edge.runtime.pixels.preprocess import clip_pixels, sam_pixels
from glus_edge.runtime.policies.context import uniform_context
from glus_edge.runtime.utils.stopwatch import Stopwatch
from glus_edge.runtime.video.frame import Frame
from glus_edge.runtime.video.video import Video


class Parts(NamedTuple):
    """A model, resident."""

    language: ReferenceLanguage
    sam2: ReferenceSam2
    stopwatch: Stopwatch  # the one `sam2` times its stages with


class Source(Protocol):
    """Where the model comes from."""

    def parts(self, bundle: Bundle) -> Parts:
        """The model a bundle was exported from. CheckpointError: it is another one."""


@dataclass(frozen=True)
class ReferenceSource:
    """Where the model lies that a bundle was exported from. It computes in float32 on the CPU."""

    checkpoint: Path
    vision_tower: Path
    sam2_config: str

    def parts(self, bundle: Bundle) -> Parts:
        """See Source."""
        manifest, stopwatch = bundle.manifest, Stopwatch()
        checkpoint, tower = Checkpoint.open(self.checkpoint), VisionTower.open(self.vision_tower)
        model, config = manifest.model, checkpoint.config
        found = (config.hidden_size, config.layers, config.vocabulary_size, tower.config.image_size)
        wanted = (model.language_width, model.language_layers, model.vocabulary_size, model.clip_size)
        if found != wanted:
            raise CheckpointError(
                f"{self.checkpoint}: got width, layers, vocabulary and CLIP size {found}, expected {wanted} as "
                f"{bundle.directory} has; give the checkpoint the bundle was exported from"
            )
        language = ReferenceLanguage(config, tower.config, checkpoint.tensor, tower.weights.tensor)
        sam2 = build_sam2(sam2_config(self.sam2_config))
        load_weights(sam2, checkpoint, manifest.provenance.get("fuser_gamma", "").startswith("reference"))
        return Parts(language, ReferenceSam2(sam2, manifest.memory, stopwatch), stopwatch)


@dataclass(frozen=True, eq=False)
class ReferenceResult:
    """One frame."""

    index: int
    mask: NDArray[np.bool_]  # [H, W]
    segmented: bool  # the language model answered [SEG]
    timings: dict[str, float]  # milliseconds per stage


class Reference:
    """A model, resident."""

    def __init__(self, source: Source, bundle: Bundle) -> None:
        """`bundle` gives prompt, tokenizer and settings. CheckpointError: not the model it was exported from."""
        self._manifest = bundle.manifest
        self._tokenizer = bundle.tokenizer()
        self._language, self._sam2, self._stopwatch = source.parts(bundle)

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
                pixels = self._placed(sam_pixels(frame.rgb, self._manifest.sam))[None]
            with self._stopwatch.stage("clip_encoder"):
                images = self._language.image_tokens(torch.stack([*pictures, *window]))
            with self._stopwatch.stage("language_model"):
                text = conversation.text(len(window) - 1)
                rows = torch.from_numpy(rows_from_prompt(text, list(range(len(images))), tokens))
                embeddings = self._language.token_embeddings(rows.clamp(min=0))
                embeddings[(rows < 0).to(embeddings.device)] = images.flatten(0, 1)
                segment_embedding, next_token = self._language.ask(embeddings)
            mask = np.zeros(frame.size, np.bool_)
            segmented = next_token == self._manifest.prompt.segment_token_id
            if segmented:
                mask = self._sam2.track(step, pixels, segment_embedding, frame.size).numpy()
            yield ReferenceResult(frame.index, mask, segmented, self._stopwatch.drain())

    def _clip_pixels(self, frame: Frame) -> torch.Tensor:
        return self._placed(clip_pixels(frame.rgb, self._manifest.clip))

    def _placed(self, pixels: NDArray[np.float32]) -> torch.Tensor:
        return self._language.place.of(torch.from_numpy(pixels))
