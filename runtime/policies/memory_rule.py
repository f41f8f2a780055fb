"""Which frames' memories stay in the bank: GLUS's own rule and those of trackers built on SAM 2. Pure Python, no engine.

All that is held is attended, so a rule decides one thing: of the memories held, which stay. The thresholds are those of
SAM2Long (`confident`), DAM4SAM (`distractors`) and SAM 3 (the age limit).
"""

from dataclasses import dataclass, replace
from functools import reduce
from operator import or_

from glus_edge.runtime.bundle.manifest import MemorySettings
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.policies.needs import Needs

REFERENCE = "reference"


@dataclass(frozen=True)
class MemoryPart:
    """One part of a rule's name."""

    effect: str
    needs: Needs = Needs.MASK_SIGNALS


PARTS = {
    "confident": MemoryPart(
        "of older frames only those with predicted IoU > 0.3 and object score > 0; the last frame always"
    ),
    "anchors": MemoryPart(
        "up to 2 frames the language model was asked about, with predicted IoU > 0.8 and score > 1, stay longer"
    ),
    "distractors": MemoryPart(
        "up to 4 frames with a rival mask elsewhere, predicted IoU > 0.8 and a usual area stay longer",
        Needs.MASK_SIGNALS | Needs.ALTERNATIVE_MASKS,
    ),
    "present": MemoryPart("no memory of a frame whose object score is not above 0"),
}


@dataclass(frozen=True)
class MemoryRecord:
    """What a rule knows of one sentence's memory of one frame."""

    step: int  # frames since the run began
    predicted_iou: float = 1.0
    object_score: float = 9.0  # logit
    growth: float = 1.0  # area of the mask over the usual one
    contested: bool = False  # another mask of the decoder marked another place
    asked: bool = False  # the language model was asked about this very frame


@dataclass(frozen=True)
class MemoryRule:
    """Decides frame by frame, for one sentence at a time."""

    name: str = REFERENCE
    confident_iou: float = 0.3
    anchor_iou: float = 0.8
    anchor_score: float = 1.0  # logit; for `anchors`
    usual_growth: tuple[float, float] = (0.8, 1.2)  # for `distractors`
    anchor_distance: int = 6  # steps from one anchor to the next, at least
    oldest: int = 320  # steps; no memory is read at a greater age

    @property
    def needs(self) -> Needs:
        """What its parts must be told: all of a `MemoryRecord` but its step is read from signals."""
        parts = () if self.name == REFERENCE else self._parts
        return reduce(or_, (PARTS[part].needs for part in parts), Needs.NOTHING)

    def entry(self, memory: MemoryRecord, held: tuple[MemoryRecord, ...]) -> MemoryRecord | None:
        """The record of a new memory beside those held, oldest first; None: no memory is made of this frame.

        What comes too soon behind an anchor is none, and must not become one once that anchor has gone: it enters as a
        memory of a frame that was not asked about, or not contested.
        """
        if "present" in self._parts and memory.object_score <= 0:
            return None
        asked = memory.asked and not self._close_to_last(memory, [each for each in held if self._is_asked_anchor(each)])
        contested = memory.contested and not self._close_to_last(
            memory, [each for each in held if self._is_resolved_anchor(each)]
        )
        return replace(memory, asked=asked, contested=contested)

    def kept(self, held: tuple[MemoryRecord, ...], step: int, settings: MemorySettings) -> tuple[MemoryRecord, ...]:
        """Of the memories held after `step`, oldest first, those that stay and are read by the next step: at most `slots`.

        `reference`: those GLUS reads. Others: the newest; anchors; and of the rest one every `stride` steps, the newest
        that fit. Where no frame is bad or an anchor that is what GLUS reads, too.
        """
        if self.name == REFERENCE:
            wanted = set(attended_steps(step + 1, settings))
            return tuple(memory for memory in held if memory.step in wanted)
        young = [memory for memory in held if step + 1 - memory.step <= self.oldest]
        if not young:
            return ()
        *older, newest = young
        room = settings.slots - 1
        anchors = self._anchors(older)[:room]
        rest = [memory for memory in older if memory not in anchors and self._trusts(memory)]
        recent = _apart(rest, settings.stride)
        recent = recent[max(0, len(recent) - (room - len(anchors))) :]
        return (*sorted((*anchors, *recent), key=lambda memory: memory.step), newest)

    @property
    def _parts(self) -> tuple[str, ...]:
        return tuple(self.name.split("+"))

    def _trusts(self, memory: MemoryRecord) -> bool:
        good = memory.predicted_iou > self.confident_iou and memory.object_score > 0
        return good or "confident" not in self._parts

    def _anchors(self, older: list[MemoryRecord]) -> list[MemoryRecord]:
        """Newest first, those of `anchors` before those of `distractors`."""
        chosen: list[MemoryRecord] = []
        if "anchors" in self._parts:
            asked = [memory for memory in older if self._is_asked_anchor(memory)]
            chosen += _apart(asked, self.anchor_distance)[-2:][::-1]
        if "distractors" in self._parts:
            resolved = [memory for memory in older if self._is_resolved_anchor(memory)]
            chosen += [each for each in _apart(resolved, self.anchor_distance)[-4:][::-1] if each not in chosen]
        return chosen

    def _is_asked_anchor(self, memory: MemoryRecord) -> bool:
        return memory.asked and memory.predicted_iou > self.anchor_iou and memory.object_score > self.anchor_score

    def _is_resolved_anchor(self, memory: MemoryRecord) -> bool:
        low, high = self.usual_growth
        return memory.contested and memory.predicted_iou > self.anchor_iou and low <= memory.growth <= high

    def _close_to_last(self, memory: MemoryRecord, anchors: list[MemoryRecord]) -> bool:
        return bool(anchors) and memory.step - anchors[-1].step < self.anchor_distance


def _apart(memories: list[MemoryRecord], distance: int) -> list[MemoryRecord]:
    """The first, and every next one at least `distance` steps behind the last chosen."""
    chosen: list[MemoryRecord] = []
    for memory in memories:
        if not chosen or memory.step - chosen[-1].step >= distance:
            chosen.append(memory)
    return chosen


def attended_steps(step: int, settings: MemorySettings) -> tuple[int, ...]:
    """Steps whose memories frame `step` reads, oldest first: the last one, and every stride-th before it.

    The reference's rule (GLUS `evaluate`): for t_rel = slots .. 2, ((step - 2) // stride) * stride - (t_rel - 2) * stride;
    for t_rel = 1, step - 1; negative steps are left out.
    """
    stride = settings.stride
    newest = ((step - 2) // stride) * stride
    candidates = [newest - (relative - 2) * stride for relative in range(settings.slots, 1, -1)] + [step - 1]
    return tuple(candidate for candidate in candidates if candidate >= 0)


def memory_rule(text: str) -> MemoryRule:
    """A rule from its name: `reference`, or parts joined as `confident+present`. InputError: it is none."""
    parts = text.split("+")
    if text != REFERENCE and (len(set(parts)) != len(parts) or not set(parts) <= set(PARTS)):
        raise InputError(f"memory: got {text!r}, expected {REFERENCE}, or some of {', '.join(PARTS)} joined by +")
    return MemoryRule(text)
