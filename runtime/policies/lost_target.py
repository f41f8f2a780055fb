"""What happens when an object is no longer there: the rules beside GLUS's own, which is none. Pure Python, no engine.

GLUS draws a mask on every frame. `hide` empties it where the decoder's object score says the object is absent; `suspend`
stops remembering when masks look wrong, gives up after a while, and goes on when an answer is confirmed (as SAM 3 and
SeC do for their own signals).
"""

from dataclasses import dataclass, replace

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.policies.mask_signals import MaskSignals

LOST_RULES = ("never", "hide", "suspend")


@dataclass(frozen=True)
class LostRule:
    """Names and thresholds."""

    name: str = "never"
    iou: float = 0.3  # `suspend`: a mask is suspect below this predicted IoU, or empty, or with an object score <= 0
    patience: int = 15  # suspect frames in a row after which the object counts as lost
    suspect_period: int = 5  # frames from one question to the next while it is suspect ...
    lost_period: int = 16  # ... and once it is lost
    scene: float = 0.35  # a change of scene beyond which it is looked for at once
    found_iou: float = 0.8  # an answer is believed above this predicted IoU, on two frames in a row

    @property
    def watches(self) -> bool:
        """Whether signals and changes of scene are looked at."""
        return self.name == "suspend"


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

    def wants_question(self, age: int, scene_change: float, rule: LostRule) -> bool:
        """Whether the language model is to be asked, `age` frames after it last was."""
        if self.lost:
            return not self.answered and (age >= rule.lost_period or scene_change > rule.scene)
        return bool(self.suspect) and age >= rule.suspect_period

    def after(self, signals: MaskSignals, asked: bool, rule: LostRule) -> tuple["TargetState", TargetVerdict]:
        """The next state, and what becomes of this frame's mask."""
        if rule.name == "never":
            return self, TargetVerdict()
        absent = signals.object_score <= 0
        if rule.name == "hide":
            return self, TargetVerdict(visible=not absent)
        if self.lost:
            sure = not absent and signals.predicted_iou > rule.found_iou and signals.area > 0
            if sure and self.answered:
                return TargetState(), TargetVerdict(restart=True)
            return replace(self, answered=sure and asked), TargetVerdict(visible=False, remember=False)
        if not absent and signals.predicted_iou >= rule.iou and signals.area > 0:
            return TargetState(), TargetVerdict()
        suspect = self.suspect + 1
        lost = suspect >= rule.patience
        return TargetState(suspect, lost), TargetVerdict(visible=not lost, remember=False)


def lost_rule(text: str) -> LostRule:
    """A rule by its name. InputError: there is none."""
    if text not in LOST_RULES:
        raise InputError(f"lost: got {text!r}, expected one of {', '.join(LOST_RULES)}")
    return LostRule(text)
