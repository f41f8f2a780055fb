"""How long to wait before a question that had no answer is asked again. Pure Python, no engine."""

from dataclasses import dataclass

_LONGEST = 8  # frames


@dataclass(frozen=True)
class BackOff:
    """After an answer without [SEG] the old embedding serves on, and the question is asked again after 2, 4, then 8 frames."""

    wait: int = 0  # frames from the last question to the next, at least; 0 after an answer

    @property
    def owed(self) -> bool:
        """Whether the last question had no answer: it is asked again, whatever the rule, as soon as it may be."""
        return self.wait > 0

    def allows(self, age: int) -> bool:
        """Whether a question may be asked `age` frames after the last."""
        return age >= self.wait

    def after(self, segmented: bool) -> "BackOff":
        """The wait after an answer; `segmented`: every sentence got its [SEG]."""
        return BackOff(0 if segmented else min(_LONGEST, max(2, 2 * self.wait)))
