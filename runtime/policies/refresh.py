"""When the language model is asked again, and when its last segment embedding serves on. Pure Python, no engine.

The rules and their thresholds follow what streaming systems do (StreamingRVOS, SeC, SAM 3, SAMWISE); `always` is GLUS.
`memoryless` is how SAMWISE tells that its memory holds on to the wrong object. `drift` was found by measuring: of what the
decoder says under an old embedding, predicted IoU and change in size since the last question tell best where to ask.
"""

from dataclasses import dataclass

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.policies.mask_signals import MaskSignals


@dataclass(frozen=True)
class RefreshRule:
    """Decides frame by frame. `age` is the number of frames since the language model was last asked."""

    name: str = "always"
    every: int = 5  # frames from one question to the next, for `every`
    iou: float = 0.8  # a mask is trusted above this predicted IoU (for `previous` 0.7 is usual) ...
    overlap: float = 0.2  # ... and above this overlap with the frame before's
    scene: float = 0.35  # Bhattacharyya distance of HSV histograms above which the scene has changed
    agreement: float = 0.1  # what masks with and without memory share of the smaller; less means different objects
    period: int = 4  # frames from one look without memory to the next
    trust: float = 0.5  # `drift`: a mask is trusted above this product of predicted IoU and likeness
    shortest: int = 2  # frames that `adaptive` and `drift` let pass at least ...
    longest: int = 30  # ... and at most

    @property
    def watches_scene(self) -> bool:
        """Whether `scene_change` is looked at, and so must be computed."""
        return self.name in ("scene", "adaptive")

    def ask_before(self, age: int, previous: tuple[MaskSignals, ...], scene_change: float) -> bool:
        """Whether to ask before the frame is decoded. `previous`: signals of the frame before, none if it had no mask."""
        if self.name == "every":
            return age >= self.every
        if self.name == "previous":
            return any(signals.predicted_iou <= self.iou for signals in previous)
        if self.name == "scene":
            return scene_change > self.scene
        if self.name == "adaptive":
            return age >= self.longest or (age >= self.shortest and scene_change > self.scene)
        if self.name == "drift":
            return age >= self.longest
        return self.name == "always"

    def looks_without_memory(self, age: int) -> bool:
        """Whether the frame is to be decoded without memory as well, so that `MaskSignals.agreement` is known."""
        return self.name == "memoryless" and age % self.period == 0

    def ask_after(self, age: int, current: tuple[MaskSignals, ...]) -> bool:
        """Whether to ask now that the frame has been decoded with the old embedding; it is then decoded again."""
        if self.name == "memoryless":
            return any(each.agreement < self.agreement for each in current)
        if self.name == "drift" and age >= self.shortest:
            return any(each.predicted_iou * each.likeness <= self.trust for each in current)
        if self.name == "verify" or (self.name == "adaptive" and age >= self.shortest):
            return any(each.predicted_iou <= self.iou or each.overlap <= self.overlap for each in current)
        return False


# rule -> the settings that may follow its name, in order
RULES: dict[str, tuple[str, ...]] = {
    "always": (),
    "once": (),
    "every": ("every",),
    "verify": ("iou", "overlap"),
    "previous": ("iou",),
    "scene": ("scene",),
    "memoryless": ("agreement", "period"),
    "drift": ("trust", "shortest", "longest"),
    "adaptive": ("iou", "overlap", "scene", "longest"),
}

# where a rule's usual settings are not those of RefreshRule
USUAL: dict[str, dict[str, float]] = {"previous": {"iou": 0.7}, "drift": {"shortest": 1, "longest": 8}}


def refresh_rule(text: str) -> RefreshRule:
    """A rule from its name and settings, as `every:5` or `verify:0.8,0.2`. InputError: it is none."""
    name, _, settings = text.partition(":")
    if name not in RULES:
        raise InputError(f"refresh: got {text!r}, expected one of {', '.join(RULES)}")
    fields = RULES[name]
    values = settings.split(",") if settings else []
    usual: dict[str, float] = dict(USUAL.get(name, {}))
    if len(values) > len(fields):
        raise InputError(f"refresh: got {text!r}, expected {name}{':' if fields else ''}{','.join(fields)}")
    for field, value in zip(fields, values, strict=False):
        whole = field in ("every", "shortest", "longest", "period")
        try:
            usual[field] = int(value) if whole else float(value)
        except ValueError as error:
            raise InputError(f"refresh: {field}: got {value!r}, expected a number") from error
        low, high = (1, 1 << 30) if whole else (0, 1)
        if not low <= usual[field] <= high:
            raise InputError(f"refresh: {field}: got {value}, expected {low} to {high}")
    return RefreshRule(name, **usual)  # type: ignore[arg-type]


class BackOff:
    """After an answer without [SEG] the old embedding serves on, and the question is asked again after 2, 4, then 8 frames."""

    def __init__(self) -> None:
        self._wait = 0

    def copy(self) -> "BackOff":
        """A second one that waits as long."""
        other = BackOff()
        other._wait = self._wait
        return other

    def allows(self, age: int) -> bool:
        """Whether a question may be asked `age` frames after the last."""
        return age >= self._wait

    @property
    def owed(self) -> bool:
        """Whether the last question had no answer: it is asked again, whatever the rule, as soon as it may be."""
        return self._wait > 0

    def note(self, segmented: bool) -> None:
        """Takes notice of an answer; `segmented`: every sentence got its [SEG]."""
        self._wait = 0 if segmented else min(8, max(2, 2 * self._wait))
