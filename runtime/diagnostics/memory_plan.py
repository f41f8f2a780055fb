"""What a bundle needs of a device's memory, and whether it fits: weights, caches, features, scratch, host."""

from dataclasses import dataclass

import numpy as np

from glus_edge.runtime.bundle.manifest import Manifest
from glus_edge.runtime.bundle.signatures import Limits, ModelDimensions

CUDA_BYTES = 600 << 20  # context, kernels and library code of a CUDA process, about
HOST_BYTES = 2 << 30  # what a Jetson's system and our own process take of the memory both share, about
MARGIN = 0.05  # of the device, kept free


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of a session of the largest size its engines allow. Scratch is an estimate, the rest is counted."""

    weights: int  # of all graphs, as their files hold them
    keys_values: int  # prefix and past of every sentence
    memory_slots: int
    features: int  # maps of the image encoder, conditioned features, mask logits
    scratch: int  # of the graph that needs most on each stream: engines of one stream share it; see `scratch_bytes`

    @property
    def total(self) -> int:
        """All of it, the CUDA process included."""
        return self.weights + self.keys_values + self.memory_slots + self.features + self.scratch + CUDA_BYTES

    def fits(self, memory_bytes: int, integrated: bool) -> bool:
        """Whether a device has room; on an integrated one the host's share counts too."""
        return self.total + (HOST_BYTES if integrated else 0) <= memory_bytes * (1 - MARGIN)


def memory_plan(manifest: Manifest, limits: Limits) -> MemoryPlan:
    """The plan of a bundle for engines of these limits."""
    model = manifest.model
    files = [
        graph.graph.size_bytes + (graph.data.size_bytes if graph.data else 0) for graph in manifest.graphs.values()
    ]
    language = np.dtype(manifest.graphs["language_model"].compute).itemsize
    vision = np.dtype(manifest.graphs["memory_attention"].compute).itemsize
    row = 2 * model.language_layers * model.key_value_heads * model.head_width * language
    cell = model.grid * model.grid * vision
    return MemoryPlan(
        weights=sum(files),
        keys_values=row * (limits.context_tokens + limits.sentences * limits.past_tokens),
        memory_slots=limits.slots * limits.sentences * model.memory_width * cell,
        features=cell
        * (16 * model.stride_4_width + 4 * model.stride_8_width + (2 + limits.sentences) * model.segment_width)
        + 5 * limits.sentences * model.mask_side**2 * 4,
        scratch=scratch_bytes(model, limits, language, vision),
    )


def scratch_bytes(model: ModelDimensions, limits: Limits, language: int, vision: int) -> int:
    """Activations at their largest: attention unfused, one layer's scores at a time.

    The image encoder has a stream and scratch memory of its own. The other engines share one block, as large as the
    largest of them needs.
    """
    keys = limits.context_tokens + limits.past_tokens + limits.new_tokens
    rows = limits.sentences * limits.new_tokens
    prefill = rows * (keys * (4 + language * model.language_heads) + 8 * model.language_width * 4)
    cells = model.grid * model.grid
    attention = limits.sentences * cells * limits.slots * cells * vision
    # the first stage of the image encoder: stride 4, its MLP four times as wide as the map
    encoder = 16 * cells * 8 * model.segment_width * vision
    return max(prefill, attention) + encoder


def plan_lines(plan: MemoryPlan) -> list[str]:
    """The plan as lines, GB."""
    rows = {
        "weights": plan.weights,
        "keys and values": plan.keys_values,
        "memory slots": plan.memory_slots,
        "features": plan.features,
        "scratch (estimate)": plan.scratch,
        "CUDA (estimate)": CUDA_BYTES,
        "in all": plan.total,
    }
    return [f"  {name:<24}{size / 1e9:>8.2f} GB" for name, size in rows.items()]
