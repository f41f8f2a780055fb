"""Which earlier frames memory attention reads, and in which slot of a fixed pool each memory lies. Pure Python."""

from dataclasses import dataclass

from glus_edge.runtime.manifest import MemorySettings


def attended_steps(step: int, settings: MemorySettings) -> tuple[int, ...]:
    """Steps whose memories frame `step` reads, oldest first: the last one, and every stride-th before it.

    The reference's rule (GLUS `evaluate`): for t_rel = slots .. 2, ((step - 2) // stride) * stride - (t_rel - 2) * stride;
    for t_rel = 1, step - 1; negative steps are left out.
    """
    stride = settings.stride
    newest = ((step - 2) // stride) * stride
    candidates = [newest - (relative - 2) * stride for relative in range(settings.slots, 1, -1)] + [step - 1]
    return tuple(candidate for candidate in candidates if candidate >= 0)


@dataclass(frozen=True)
class MemoryGroup:
    """Sentences that read the same slots, so that one call of memory attention serves them."""

    sentences: tuple[int, ...]
    slots: tuple[int, ...]  # in order of age; empty: the bank has nothing for these sentences


class MemoryBank:
    """Book of the slots: which step's memory lies where, and for which sentences. The pool never grows.

    GLUS's memory carries no time code, so attention does not depend on the slots' order, and a slot that will not be read
    again is simply written over.
    """

    def __init__(self, sentences: int, settings: MemorySettings) -> None:
        self.settings = settings
        self._sentences = sentences
        self._steps: list[int | None] = [None] * settings.slots
        self._stored: list[frozenset[int]] = [frozenset()] * settings.slots

    def groups(self, step: int) -> tuple[MemoryGroup, ...]:
        """The slots each sentence reads at `step`, sentences with the same slots together."""
        attended = attended_steps(step, self.settings)
        order = [slot for wanted in attended for slot, held in enumerate(self._steps) if held == wanted]
        groups: dict[tuple[int, ...], list[int]] = {}
        for sentence in range(self._sentences):
            slots = tuple(slot for slot in order if sentence in self._stored[slot])
            groups.setdefault(slots, []).append(sentence)
        return tuple(MemoryGroup(tuple(sentences), slots) for slots, sentences in groups.items())

    def store(self, step: int, sentences: frozenset[int]) -> int:
        """Notes the memory of `step` for the sentences that have one, and returns the slot to write it in."""
        needed = set(attended_steps(step + 1, self.settings))
        free = [slot for slot, held in enumerate(self._steps) if held is None or held not in needed]
        slot = free[0]
        self._steps[slot] = step
        self._stored[slot] = sentences
        return slot

    def copy(self) -> "MemoryBank":
        """A second book with the same entries: the other direction of a run from a key frame."""
        other = MemoryBank(self._sentences, self.settings)
        other._steps, other._stored = list(self._steps), list(self._stored)
        return other
