"""What happens when an object is no longer there: the rules beside GLUS's own, which is none. Pure Python, no engine.

To add a rule, write one class here: a frozen dataclass with a name, marked `@registered`.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.policies.mask_signals import MaskSignals
from glus_edge.runtime.policies.needs import Needs


@dataclass(frozen=True)
class TargetVerdict:
    """What becomes of one sentence's mask on one frame."""

    visible: bool = True  # else the mask given is empty
    remember: bool = True  # else no memory is made of it
    restart: bool = False  # the memory is emptied first


@dataclass(frozen=True)
class TargetState:
    """One sentence's object. Frames move it from one state to the next."""

    suspect: int = 0  # suspect frames in a row
    lost: bool = False
    answered: bool = False  # lost, and an answer on the frame before looked right


@dataclass(frozen=True)
class LostRule:
    """Decides frame by frame, for one sentence at a time; changes nothing, unless a subclass says otherwise."""

    name: ClassVar[str]
    needs: ClassVar[Needs] = Needs.NOTHING

    def wants_question(self, target: TargetState, age: int, scene_change: float) -> bool:
        """Whether the language model is to be asked, `age` frames after it last was."""
        return False

    def observe(self, target: TargetState, signals: MaskSignals, asked: bool) -> tuple[TargetState, TargetVerdict]:
        """The next state, and what becomes of this frame's mask."""
        return target, TargetVerdict()


LOST_RULES: dict[str, type[LostRule]] = {}  # by name

_Rule = TypeVar("_Rule", bound=type[LostRule])


def registered(rule: _Rule) -> _Rule:
    """Makes a rule available by its name."""
    LOST_RULES[rule.name] = rule
    return rule


def lost_rule(text: str) -> LostRule:
    """A rule by its name. InputError: there is none."""
    if text not in LOST_RULES:
        raise InputError(f"lost: got {text!r}, expected one of {', '.join(LOST_RULES)}")
    return LOST_RULES[text]()


@registered
@dataclass(frozen=True)
class Never(LostRule):
    """Shows and remembers every mask, as GLUS does."""

    name = "never"


@registered
@dataclass(frozen=True)
class Hide(LostRule):
    """Empties a mask where the decoder's object score says that the object is absent."""

    name = "hide"
    needs = Needs.MASK_SIGNALS

    def observe(self, target: TargetState, signals: MaskSignals, asked: bool) -> tuple[TargetState, TargetVerdict]:
        """See LostRule."""
        return target, TargetVerdict(visible=signals.object_score > 0)


@registered
@dataclass(frozen=True)
class Suspend(LostRule):
    """Stops remembering when masks look wrong, gives up after a while, and goes on when an answer is confirmed.

    SAM 3 and SeC do the same with signals of their own. A mask is suspect where it is empty, its predicted IoU is low, or
    its object score is not above 0.
    """

    name = "suspend"
    needs = Needs.MASK_SIGNALS | Needs.SCENE_CHANGE

    iou: float = 0.3  # a mask is suspect below this predicted IoU
    patience: int = 15  # suspect frames in a row after which the object counts as lost
    suspect_period: int = 5  # frames from one question to the next while it is suspect ...
    lost_period: int = 16  # ... and once it is lost
    scene: float = 0.35  # a change of scene beyond which it is looked for at once
    found_iou: float = 0.8  # an answer is believed above this predicted IoU, on two frames in a row

    def wants_question(self, target: TargetState, age: int, scene_change: float) -> bool:
        """See LostRule."""
        if target.lost:
            return not target.answered and (age >= self.lost_period or scene_change > self.scene)
        return bool(target.suspect) and age >= self.suspect_period

    def observe(self, target: TargetState, signals: MaskSignals, asked: bool) -> tuple[TargetState, TargetVerdict]:
        """See LostRule."""
        there = signals.object_score > 0 and signals.area > 0
        if target.lost:
            sure = there and signals.predicted_iou > self.found_iou
            if sure and target.answered:
                return TargetState(), TargetVerdict(restart=True)
            return replace(target, answered=sure and asked), TargetVerdict(visible=False, remember=False)
        if there and signals.predicted_iou >= self.iou:
            return TargetState(), TargetVerdict()
        suspect = target.suspect + 1
        lost = suspect >= self.patience
        return TargetState(suspect, lost), TargetVerdict(visible=not lost, remember=False)
