"""In which slot of a fixed pool each sentence's memories lie. Pure Python, no engine; what stays is `memory_rule`'s choice."""

from collections.abc import Mapping
from dataclasses import dataclass

from glus_edge.runtime.bundle.manifest import MemorySettings
from glus_edge.runtime.policies.memory_rule import MemoryRecord, MemoryRule
from glus_edge.runtime.policies.needs import Needs


@dataclass(frozen=True)
class MemoryGroup:
    """Sentences that read as many memories as each other, so that one call of memory attention serves them."""

    sentences: tuple[int, ...]
    count: int  # each reads slots 0 .. count - 1 of its own


@dataclass(frozen=True)
class Move:
    """A memory that must be copied to another slot of its sentence."""

    sentence: int
    source: int
    target: int


@dataclass(frozen=True)
class Placement:
    """What is to be done to the pool: first the moves, then the new memories are written."""

    moves: tuple[Move, ...]
    slots: Mapping[int, int]  # of each sentence that gets a new memory


class MemoryBank:
    """Book of the slots: which memory of which sentence lies where. The pool never grows.

    GLUS's memory carries no time code, so attention does not depend on the slots' order: a sentence's memories lie in
    slots 0 .. count - 1 in any order, a new one takes the place of one that is not read again.
    """

    def __init__(self, sentences: int, settings: MemorySettings, rule: MemoryRule | None = None) -> None:
        self._settings, self._rule = settings, rule or MemoryRule()
        self._held: list[list[MemoryRecord]] = [[] for _ in range(sentences)]  # by slot

    @property
    def sentences(self) -> int:
        """How many sentences have memories in it."""
        return len(self._held)

    @property
    def slots(self) -> int:
        """Memories it can hold of each sentence."""
        return self._settings.slots

    @property
    def needs(self) -> Needs:
        """What its rule must be told of every mask."""
        return self._rule.needs

    def held(self, sentence: int) -> tuple[MemoryRecord, ...]:
        """What lies in this sentence's slots 0, 1, ..."""
        return tuple(self._held[sentence])

    def groups(self) -> tuple[MemoryGroup, ...]:
        """How many memories each sentence reads, sentences with equally many together."""
        groups: dict[int, list[int]] = {}
        for sentence, held in enumerate(self._held):
            groups.setdefault(len(held), []).append(sentence)
        return tuple(MemoryGroup(tuple(sentences), count) for count, sentences in groups.items())

    def store(self, step: int, memories: Mapping[int, MemoryRecord]) -> Placement:
        """Ends a step, with the memories of the sentences that have one. Call it for every step."""
        moves: list[Move] = []
        slots: dict[int, int] = {}
        if not self._settings.slots:  # a model without a memory bank
            return Placement((), {})
        for sentence, held in enumerate(self._held):
            seen = memories.get(sentence)
            new = None if seen is None else self._rule.entry(seen, _by_step(held))
            if new is not None:
                slots[sentence] = self._place(held, new, step)
            free = self._free(held, step)
            moves += [Move(sentence, source, target) for source, target in _close(held, free)]
        return Placement(tuple(moves), slots)

    def forget(self, sentence: int) -> None:
        """Empties a sentence's memory."""
        self._held[sentence].clear()

    def select(self, sentences: tuple[int, ...]) -> "MemoryBank":
        """A second book with these sentences' entries: the other direction of a run, or what is left of a batch."""
        other = MemoryBank(0, self._settings, self._rule)
        other._held = [list(self._held[sentence]) for sentence in sentences]
        return other

    def _free(self, held: list[MemoryRecord], step: int) -> list[int]:
        kept = self._rule.kept(_by_step(held), step, self._settings)
        return [slot for slot, memory in enumerate(held) if memory not in kept]

    def _place(self, held: list[MemoryRecord], new: MemoryRecord, step: int) -> int:
        """Enters the new memory in the first slot it leaves without use, or behind all."""
        held.append(new)
        free = self._free(held, step)
        assert len(held) - 1 not in free, f"the memory of step {step} must stay"
        if not free:
            assert len(held) <= self._settings.slots, f"got {len(held)} memories for {self._settings.slots} slots"
            return len(held) - 1
        held[free[0]] = held.pop()
        return free[0]


def _close(held: list[MemoryRecord], free: list[int]) -> list[tuple[int, int]]:
    """Fills free slots with the last ones, so that what is held lies in one block; (source, target) of each copy."""
    copies = []
    for slot in reversed(free):
        last = len(held) - 1
        if slot != last:
            held[slot] = held[last]
            copies.append((last, slot))
        held.pop()
    return copies


def _by_step(held: list[MemoryRecord]) -> tuple[MemoryRecord, ...]:
    """Oldest first."""
    return tuple(sorted(held, key=lambda memory: memory.step))
