"""One prefill of a language model as whoever runs it is timed: new rows behind cached ones, the same call again and again."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class PrefillCase:
    """What is computed; the defaults are one frame of one sentence in a `window` conversation of GLUS-7B."""

    new: int = 110  # rows computed
    cached: int = 330  # rows whose keys and values are there already
    threads: int = 2


class PrefillRunner(Protocol):
    """A model that is loaded, ready to compute a call again."""

    def seconds(self) -> float:
        """How long one call takes, by the clock."""
        ...

    def close(self) -> None:
        """Lets go of the model's memory."""
        ...
