"""When the language model is asked again, and when its last segment embedding serves on. Pure Python, no engine.

The rules and their thresholds follow what streaming systems do (StreamingRVOS, SeC, SAM 3, SAMWISE); `always` is GLUS.
To add a rule, write one class here: a frozen dataclass with a name, marked `@registered`.
"""

from dataclasses import dataclass
from typing import TypeVar

from glus_edge.runtime.policies.mask_signals import MaskSignals
from glus_edge.runtime.policies.named_rule import frames, rule_from_text, share
from glus_edge.runtime.policies.needs import Needs
from glus_edge.runtime.policies.refresh_rule import RefreshRule

RULES: dict[str, type[RefreshRule]] = {}  # by name

_Rule = TypeVar("_Rule", bound=type[RefreshRule])


def registered(rule: _Rule) -> _Rule:
    """Makes a rule available by its name."""
    RULES[rule.name] = rule
    return rule


def refresh_rule(text: str) -> RefreshRule:
    """A rule from its name and settings, as `every:5` or `verify:0.8,0.2`. InputError: it is none."""
    return rule_from_text("refresh", RULES, text)


@registered
@dataclass(frozen=True)
class Always(RefreshRule):
    """Asks about every frame, as GLUS does."""

    name = "always"
    needs = Needs.NOTHING
    asks_always = True

    def ask_before(self, age: int, previous: tuple[MaskSignals, ...], scene_change: float) -> bool:
        """See RefreshRule."""
        return True


@registered
@dataclass(frozen=True)
class Once(RefreshRule):
    """Asks about the first frame only."""

    name = "once"
    needs = Needs.NOTHING


@registered
@dataclass(frozen=True)
class Every(RefreshRule):
    """Asks at a fixed period."""

    name = "every"
    needs = Needs.NOTHING

    every: int = frames(5)  # from one question to the next

    def ask_before(self, age: int, previous: tuple[MaskSignals, ...], scene_change: float) -> bool:
        """See RefreshRule."""
        return age >= self.every


@registered
@dataclass(frozen=True)
class Verify(RefreshRule):
    """Asks when a mask of the frame is not trusted."""

    name = "verify"
    needs = Needs.MASK_SIGNALS

    iou: float = share(0.8)  # a mask is trusted above this predicted IoU ...
    overlap: float = share(0.2)  # ... and above this IoU with the frame before's

    def ask_after(self, age: int, current: tuple[MaskSignals, ...]) -> bool:
        """See RefreshRule."""
        return _untrusted(current, self.iou, self.overlap)


@registered
@dataclass(frozen=True)
class Previous(RefreshRule):
    """Asks when a mask of the frame before was not trusted."""

    name = "previous"
    needs = Needs.MASK_SIGNALS

    iou: float = share(0.7)  # a mask is trusted above this predicted IoU

    def ask_before(self, age: int, previous: tuple[MaskSignals, ...], scene_change: float) -> bool:
        """See RefreshRule."""
        return any(signals.predicted_iou <= self.iou for signals in previous)


@registered
@dataclass(frozen=True)
class SceneCut(RefreshRule):
    """Asks when the colours have changed since the last question."""

    name = "scene"
    needs = Needs.SCENE_CHANGE

    scene: float = share(0.35)  # Bhattacharyya distance above which the scene has changed

    def ask_before(self, age: int, previous: tuple[MaskSignals, ...], scene_change: float) -> bool:
        """See RefreshRule."""
        return scene_change > self.scene


@registered
@dataclass(frozen=True)
class Memoryless(RefreshRule):
    """Asks when masks with and without memory are of different objects: so SAMWISE tells a memory that is wrong."""

    name = "memoryless"
    needs = Needs.MASK_SIGNALS

    agreement: float = share(0.1)  # what both masks share of the smaller; less means different objects
    period: int = frames(4)  # from one look without memory to the next

    def looks_without_memory(self, age: int) -> bool:
        """See RefreshRule."""
        return age % self.period == 0

    def ask_after(self, age: int, current: tuple[MaskSignals, ...]) -> bool:
        """See RefreshRule."""
        return any(each.agreement < self.agreement for each in current)


@registered
@dataclass(frozen=True)
class Drift(RefreshRule):
    """Asks when predicted IoU times likeness in size to the mask asked about last is low.

    Found by measuring: of what the decoder says under an old embedding, these two tell best where to ask.
    """

    name = "drift"
    needs = Needs.MASK_SIGNALS

    trust: float = share(0.5)  # a mask is trusted above this product
    shortest: int = frames(1)  # from one question to the next, at least ...
    longest: int = frames(8)  # ... and at most

    def ask_before(self, age: int, previous: tuple[MaskSignals, ...], scene_change: float) -> bool:
        """See RefreshRule."""
        return age >= self.longest

    def ask_after(self, age: int, current: tuple[MaskSignals, ...]) -> bool:
        """See RefreshRule."""
        return age >= self.shortest and any(each.predicted_iou * each.likeness <= self.trust for each in current)


@registered
@dataclass(frozen=True)
class Adaptive(RefreshRule):
    """`verify` and `scene` together, neither too often nor too rarely."""

    name = "adaptive"
    needs = Needs.MASK_SIGNALS | Needs.SCENE_CHANGE

    iou: float = share(0.8)  # as in `verify`
    overlap: float = share(0.2)
    scene: float = share(0.35)  # as in `scene`
    longest: int = frames(30)  # from one question to the next, at most ...
    shortest: int = frames(2)  # ... and at least

    def ask_before(self, age: int, previous: tuple[MaskSignals, ...], scene_change: float) -> bool:
        """See RefreshRule."""
        return age >= self.longest or (age >= self.shortest and scene_change > self.scene)

    def ask_after(self, age: int, current: tuple[MaskSignals, ...]) -> bool:
        """See RefreshRule."""
        return age >= self.shortest and _untrusted(current, self.iou, self.overlap)


def _untrusted(masks: tuple[MaskSignals, ...], iou: float, overlap: float) -> bool:
    return any(mask.predicted_iou <= iou or mask.overlap <= overlap for mask in masks)
