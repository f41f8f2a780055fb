"""Which rows of keys and values are cached, and what is left to prefill: decided here in pure Python, executed elsewhere."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.bundle.signatures import MASKED, ModelDimensions
from glus_edge.runtime.device.device import ALIGNMENT
from glus_edge.runtime.language.conversation import Rows

_EMPTY = np.iinfo(np.int64).max  # the row of a cache slot that holds nothing for a sentence


def row_granule(model: ModelDimensions, dtype: np.dtype[Any] | str, sentences: int) -> int:
    """Cached rows from one aligned address to the next: 1 unless the model's heads are very narrow."""
    row_bytes = sentences * model.key_value_heads * model.head_width * np.dtype(dtype).itemsize
    return ALIGNMENT // math.gcd(ALIGNMENT, row_bytes)


@dataclass(frozen=True, eq=False)
class Prefill:
    """One call of the language model: new rows behind those kept. Sentences are padded on the left."""

    past: int  # cache slots read: 0 .. past
    start: int  # the new rows are written at slots start .. start + new_tokens: behind those read, or over empty ones
    rows: NDArray[np.int64]  # [sentences, new_tokens]; padded places hold token 0, seen by no one
    lengths: NDArray[np.int64]  # [sentences] new rows that are not padding
    positions: NDArray[np.int32]  # [sentences, new_tokens]
    past_positions: NDArray[np.int32]  # [sentences, past]
    held: NDArray[np.bool_]  # [sentences, past + new_tokens] neither an empty slot nor padding
    prefix: int  # rows in front of all, seen by every row

    @property
    def new_tokens(self) -> int:
        """Rows computed for each sentence, padding included."""
        return int(self.rows.shape[1])

    def attention_mask(self) -> NDArray[np.float32]:
        """[sentences, new_tokens, prefix + past + new_tokens], 0 or MASKED.

        Causal over the new rows; empty slots and padding are seen by no one (but a padded row by itself).
        """
        new, behind = self.new_tokens, self.prefix + self.past
        seen = np.ones((len(self.held), new, behind + new), bool)
        seen[:, :, self.prefix :] = self.held[:, None, :]
        seen[:, :, behind:] &= np.tri(new, dtype=bool)
        diagonal = np.arange(new)
        seen[:, diagonal, behind + diagonal] = True
        return np.where(seen, np.float32(0), np.float32(MASKED))


class KeyValueCache:
    """Book of the cache's slots: for each sentence, which row of which position stands in which slot.

    A slot is one place along the token axis, shared by the batch; a sentence may leave it empty. A prompt reuses the
    longest run of leading rows that are cached; the rest is forgotten, and new rows go to the first run of empty slots
    that is long enough. Slots need not be in the order of their positions: attention does not ask for it.
    """

    def __init__(self, sentences: int, prefix: int, capacity: int, granule: int = 1) -> None:
        self.prefix = prefix  # rows at positions 0 .. prefix-1, cached once and shared by all sentences
        self.capacity = capacity
        self.granule = granule  # new rows begin at a multiple of it, so that their address is aligned
        self._rows = np.full((sentences, capacity), _EMPTY, np.int64)
        self._positions = np.zeros((sentences, capacity), np.int32)  # of the rows that are there, else undefined

    def plan(self, prompts: list[Rows]) -> Prefill:
        """What must be computed so that every sentence's prompt (prefix rows left out) ends at its last row."""
        kept = [self._kept_slots(sentence, prompt) for sentence, prompt in enumerate(prompts)]
        past = max((int(slots.max()) + 1 for slots in kept if len(slots)), default=0)
        lengths = np.array([len(prompt) - len(slots) for prompt, slots in zip(prompts, kept, strict=True)])
        new = int(lengths.max())
        start = self._first_run(kept, past, new)
        assert start + new <= self.capacity, f"K/V cache: got {start} + {new} rows, expected at most {self.capacity}"
        held = np.zeros((len(prompts), past + new), bool)
        rows = np.zeros((len(prompts), new), np.int64)
        positions = np.zeros((len(prompts), new), np.int32)
        for sentence, (prompt, slots) in enumerate(zip(prompts, kept, strict=True)):
            pad = new - lengths[sentence]
            rows[sentence, pad:] = prompt[len(slots) :]
            positions[sentence] = self.prefix + len(slots)
            positions[sentence, pad:] += np.arange(lengths[sentence], dtype=np.int32)
            held[sentence, slots] = True
            held[sentence, past + pad :] = True
        past_positions = self._positions[:, :past].copy()
        return Prefill(past, start, rows, lengths, positions, past_positions, held, self.prefix)

    def record(self, prefill: Prefill) -> None:
        """Enters the rows of `prefill`, which have been written."""
        stop = prefill.start + prefill.new_tokens
        for sentence, length in enumerate(prefill.lengths.tolist()):
            kept = prefill.positions[sentence, -1] + 1 - length  # the position of the first new row
            self._rows[sentence, self._positions[sentence] >= kept] = _EMPTY
            self._rows[sentence, prefill.start : stop] = _EMPTY
            self._rows[sentence, stop - length : stop] = prefill.rows[sentence, -length:]
        self._positions[:, prefill.start : stop] = prefill.positions

    def drop_leading(self, counts: list[int]) -> None:
        """Forgets each sentence's first rows behind the prefix; those that follow move up to their positions.

        A moved row keeps its key and value, computed when the dropped ones were still seen: the `rolling` approximation.
        """
        for sentence, count in enumerate(counts):
            held = self._rows[sentence] != _EMPTY
            self._rows[sentence, held & (self._positions[sentence] < self.prefix + count)] = _EMPTY
            self._positions[sentence] -= count

    def clear(self) -> None:
        """Forgets every row but the prefix."""
        self._rows[:] = _EMPTY

    def copy_from(self, other: "KeyValueCache", sentences: tuple[int, ...]) -> None:
        """Takes over the rows of these sentences of `other`, which is no larger than this one; slots stay the same."""
        self.clear()
        self._rows[:, : other.capacity] = other._rows[list(sentences)]
        self._positions[:, : other.capacity] = other._positions[list(sentences)]

    def _kept_slots(self, sentence: int, prompt: Rows) -> NDArray[np.int64]:
        """Slots of the leading rows of `prompt` that are cached; never all of them, for the last row must be computed."""
        slots = np.flatnonzero(self._rows[sentence] != _EMPTY)
        slots = slots[np.argsort(self._positions[sentence, slots])][: len(prompt) - 1]
        agree = self._rows[sentence, slots] == prompt[: len(slots)]
        return slots[: len(slots) if agree.all() else int(np.argmin(agree))]

    def _first_run(self, kept: list[NDArray[np.int64]], past: int, length: int) -> int:
        """The first of `length` consecutive slots that no sentence keeps, from a multiple of the granule on."""
        free = np.ones(past, bool)
        for slots in kept:
            free[slots] = False
        run = 0
        for slot in range(past):
            run = run + 1 if free[slot] and (run or slot % self.granule == 0) else 0
            if run == length:
                return slot + 1 - length
        start = past - run
        return start + -start % self.granule
