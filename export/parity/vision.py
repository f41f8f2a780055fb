"""What the five vision graphs are compared on: a short run of the torch modules over a few frames and two sentences."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glus_edge.export.parity.comparison import ParityCase, Tensors
from glus_edge.export.vision.modules import TorchModules
from glus_edge.runtime.pixels.preprocess import clip_pixels, sam_pixels
from glus_edge.runtime.video.frame import Frame

FRAMES = 3  # tracked: without memory, with one slot, with two


def vision_cases(
    modules: TorchModules, frames: Sequence[Frame], segment_embeddings: NDArray[np.float32]
) -> dict[str, list[ParityCase]]:
    """Cases per graph from the frames' own pixels; later stages get what earlier ones computed, in float32.

    segment_embeddings: [sentences, segment_width], what the language model answers.
    """
    cases: dict[str, list[ParityCase]] = {name: [] for name in modules.graphs()}

    def run(graph: str, **inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = modules.graphs()[graph](*inputs.values())
        if isinstance(outputs, Tensor):
            names = {"clip_encoder": "image_tokens", "memory_attention": "conditioned_features"}
            named = {names.get(graph, "memory_slot"): outputs}
        else:
            named = outputs._asdict()
        cases[graph].append(ParityCase(_arrays(inputs), _arrays(named)))
        return tuple(named.values())

    prompt = torch.from_numpy(segment_embeddings)
    with torch.inference_mode():
        for batch in (frames[:1], frames[1:]):
            pixels = np.stack([clip_pixels(frame.rgb, modules.clip_image) for frame in batch])
            run("clip_encoder", clip_pixels=torch.from_numpy(pixels))
        slots: list[Tensor] = []
        for frame in frames:
            pixels = sam_pixels(frame.rgb, modules.sam_image)
            stride_4, stride_8, stride_16, conditioned = run("image_encoder", sam_pixels=torch.from_numpy(pixels)[None])
            conditioned = conditioned.expand(len(prompt), -1, -1, -1)
            if slots:
                (conditioned,) = run("memory_attention", features_stride_16=stride_16, memory=torch.stack(slots))
            logits = run(
                "mask_decoder",
                conditioned_features=conditioned,
                features_stride_8=stride_8,
                features_stride_4=stride_4,
                segment_embedding=prompt,
            )[0]
            slots += run("memory_encoder", conditioned_features=conditioned, mask_logits=logits)
    return cases


def _arrays(tensors: dict[str, Any]) -> Tensors:
    return {name: tensor.numpy() for name, tensor in tensors.items()}
