"""What a rule of asking is: the class that every such rule extends, those of this package and a user's own."""

from dataclasses import dataclass
from typing import ClassVar

from glus_edge.runtime.policies.mask_signals import MaskSignals
from glus_edge.runtime.policies.needs import Needs


@dataclass(frozen=True)
class RefreshRule:
    """Decides frame by frame; asks about the first frame only, unless a subclass says otherwise.

    `age` is the number of frames since the language model was last asked. A subclass of your own can be given to
    `Segmenter.segment(refresh=...)`. It is shown everything, unless its `needs` say that it needs less.
    """

    name: ClassVar[str] = "own"
    needs: ClassVar[Needs] = Needs.MASK_SIGNALS | Needs.SCENE_CHANGE
    # Whether every frame is asked about before it is decoded. A frame without [SEG] then has no mask, as in the
    # reference; with any other rule the embedding before serves on.
    asks_always: ClassVar[bool] = False

    def ask_before(self, age: int, previous: tuple[MaskSignals, ...], scene_change: float) -> bool:
        """Whether to ask before the frame is decoded.

        `previous`: signals of the frame before, none if it had no mask. `scene_change`: Bhattacharyya distance of HSV
        histograms to the frame asked about last, 0 to 1.
        """
        return False

    def looks_without_memory(self, age: int) -> bool:
        """Whether the frame is to be decoded without memory as well, so that `MaskSignals.agreement` is known."""
        return False

    def ask_after(self, age: int, current: tuple[MaskSignals, ...]) -> bool:
        """Whether to ask now that the frame has been decoded with the old embedding; it is then decoded again."""
        return False
