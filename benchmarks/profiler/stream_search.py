"""How many streams a machine keeps up with: doubling, then bisection, then runs that verify the answer. Pure Python."""

from collections.abc import Callable


def most_streams(passes: Callable[[int], bool], verified: Callable[[int], bool], maximum: int) -> int:
    """The largest number up to `maximum` that passes and is verified; 0 where not even one stream is.

    `passes` is asked about ever fewer numbers around the answer: more streams are taken to be no easier. A number that
    passed by luck is not verified, and the next smaller one is.
    """
    good, bad = 0, 1
    while bad <= maximum and passes(bad):
        good, bad = bad, 2 * bad
    bad = min(bad, maximum + 1)
    while bad - good > 1:
        middle = (good + bad) // 2
        if passes(middle):
            good = middle
        else:
            bad = middle
    while good and not verified(good):
        good -= 1
    return good
