"""In what precision a graph is tried next on a device, given what came of the forms tried before. Pure Python."""

from collections.abc import Sequence
from dataclasses import dataclass

from glus_edge.runtime.bundle.precisions import BF16, FP16, FP32

HELPS = 0.9  # a block counts as part of the fault if raising it leaves at most this share of the distance

_FALLBACKS = {FP32: (FP32,), FP16: (FP16, BF16, FP32)}


@dataclass(frozen=True)
class Candidate:
    """A graph as it may be compiled."""

    precision: str  # 'fp16', 'bf16' or 'fp32': what the graph computes in
    raised: tuple[str, ...] = ()  # named blocks that compute in float32 all the same

    @property
    def label(self) -> str:
        """'fp16', 'fp16 with attention, neck in fp32'."""
        return f"{self.precision} with {', '.join(self.raised)} in {FP32}" if self.raised else self.precision


def next_candidate(start: str, blocks: Sequence[str], distances: Sequence[float | None]) -> Candidate | None:
    """The candidate to try after those that gave these distances (None: not a number, or it did not compile or run).

    First the graph as it is, then each block raised alone, then together those that helped where that is more than one;
    then the whole graph in the next precision. None: all have been tried.
    """
    tried = len(distances)
    if tried == 0 or start == FP32:
        return Candidate(start) if tried == 0 else None
    if tried <= len(blocks):
        return Candidate(start, (blocks[tried - 1],))
    helped = tuple(
        block for block, distance in zip(blocks, distances[1:], strict=False) if _helps(distances[0], distance)
    )
    whole = _FALLBACKS[start][1:]
    rest: list[Candidate] = [Candidate(start, helped)] if len(helped) > 1 else []
    rest += [Candidate(precision) for precision in whole]
    place = tried - 1 - len(blocks)
    return rest[place] if place < len(rest) else None


def _helps(before: float | None, after: float | None) -> bool:
    if after is None:
        return False
    return before is None or after <= HELPS * before
