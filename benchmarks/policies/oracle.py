"""The bound for rules that ask when a mask looks wrong: a rule that knows."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.policies.mask_signals import MaskSignals, overlap
from glus_edge.runtime.policies.needs import Needs
from glus_edge.runtime.policies.refresh_rule import RefreshRule


class Truth:
    """The true mask of the frame that is decoded next."""

    def __init__(self) -> None:
        self._mask = np.zeros((1, 1), np.bool_)

    def show(self, mask: NDArray[np.bool_]) -> None:
        """Sets it, [H, W]."""
        self._mask = mask

    def at(self, height: int, width: int) -> NDArray[np.bool_]:
        """At another size: what covers at least half a pixel."""
        shares = cv2.resize(self._mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(shares >= 0.5)


@dataclass(frozen=True)
class OracleRule(RefreshRule):
    """Asks again when the mask's true IoU is below `wrong`. One sentence at a time."""

    name = "oracle"
    needs = Needs.MASK_SIGNALS

    wrong: float = 0.5
    truth: Truth = field(default_factory=Truth)

    def ask_after(self, age: int, current: tuple[MaskSignals, ...]) -> bool:
        """See RefreshRule."""
        return any(overlap(each.mask, self.truth.at(*each.mask.shape)) < self.wrong for each in current)
