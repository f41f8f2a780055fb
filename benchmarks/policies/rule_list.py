"""The policies that are compared, by name, and how a threshold is set for a wanted call rate."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from glus_edge.runtime.policies.loop_rules import PRESETS, LoopChoice

EXACT, EVERY_5, ORACLE = "exact", "every-5", "oracle"

# Rules of asking are compared in the `window` query window, memory rules with a question every 5th frame, where the
# memory has to carry the object; one of them also in the reference's own loop.
FIXED: Mapping[str, LoopChoice] = {
    EXACT: LoopChoice(),
    "window": LoopChoice("window"),
    "rolling": LoopChoice("rolling"),
    "once": LoopChoice("window", "once"),
    "every-2": LoopChoice("window", "every:2"),
    EVERY_5: LoopChoice("window", "every:5"),
    "every-10": LoopChoice("window", "every:10"),
    "exact-confident": LoopChoice(memory="confident"),
    "every-5-confident": LoopChoice("window", "every:5", "confident"),
    "every-5-anchors": LoopChoice("window", "every:5", "anchors"),
    "every-5-distractors": LoopChoice("window", "every:5", "distractors"),
    "every-5-present": LoopChoice("window", "every:5", "present"),
    "every-5-all": LoopChoice("window", "every:5", "confident+anchors+present"),
    "preset-balanced": PRESETS["balanced"],
    "preset-fast": PRESETS["fast"],
}


@dataclass(frozen=True)
class FittedRule:
    """A rule of asking whose threshold is set for a wanted call rate."""

    pattern: str  # of the rule's name; {} is the threshold
    rising: bool  # a higher threshold asks more often

    def choice(self, threshold: float) -> LoopChoice:
        """With this threshold."""
        return LoopChoice("window", self.pattern.format(f"{threshold:.5f}"))


FITTED: Mapping[str, FittedRule] = {
    "verify": FittedRule("verify:{},0.2", rising=True),
    "previous": FittedRule("previous:{}", rising=True),
    "scene": FittedRule("scene:{}", rising=False),
    "memoryless": FittedRule("memoryless:{},4", rising=True),
    "drift": FittedRule("drift:{},1,8", rising=True),
    "adaptive": FittedRule("adaptive:{},0.2,0.35,30", rising=True),
}

NAMES = (*FIXED, *FITTED, ORACLE)


def fitted_threshold(
    rate: Callable[[float], float], wanted: float, *, rising: bool, steps: int = 7, close: float = 0.01
) -> float:
    """The threshold in 0..1 whose call rate is nearest the wanted one, by bisection.

    `rate` runs the policy with a threshold and returns its share of frames asked about, 0..1; it need not be strictly
    monotone. Stops early within `close`.
    """
    low, high = 0.0, 1.0
    best, error = 0.0, float("inf")
    for _ in range(steps):
        middle = (low + high) / 2
        found = rate(middle)
        if abs(found - wanted) < error:
            best, error = middle, abs(found - wanted)
        if error <= close:
            break
        if (found < wanted) == rising:
            low = middle
        else:
            high = middle
    return best
