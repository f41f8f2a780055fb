"""Shapes an engine replays: a prefill padded to the few sizes it was compiled for. Decided in pure Python."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.errors import EngineError
from glus_edge.runtime.language.kv_cache import Prefill

NO_ROW = -1  # the position of a place that holds none


@dataclass(frozen=True, eq=False)
class PaddedPrefill:
    """A prefill whose new rows are padded on the left, and whose past is the whole cache."""

    pad: int  # places in front of the prefill's new rows
    positions: NDArray[np.int32]  # [sentences, pad + new_tokens], NO_ROW where there is none
    past_positions: NDArray[np.int32]  # [sentences, capacity], NO_ROW where no row is seen


def padded(prefill: Prefill, sizes: Sequence[int], capacity: int) -> PaddedPrefill:
    """The prefill in the smallest size that holds its new rows. EngineError: it is larger than all of them.

    Padding on the left keeps the last row the last, which the graph reads its answer from.
    """
    new, past = prefill.new_tokens, prefill.past
    size = next((size for size in sizes if size >= new), None)
    if size is None:
        raise EngineError(
            f"language_model: got {new} new_tokens, expected 1 to {sizes[-1]}, what the engine was built for; build it "
            "with larger limits"
        )
    sentences = len(prefill.held)
    positions = np.full((sentences, size), NO_ROW, np.int32)
    positions[:, size - new :] = np.where(prefill.held[:, past:], prefill.positions, NO_ROW)
    past_positions = np.full((sentences, capacity), NO_ROW, np.int32)
    past_positions[:, :past] = np.where(prefill.held[:, :past], prefill.past_positions, NO_ROW)
    return PaddedPrefill(size - new, positions, past_positions)
