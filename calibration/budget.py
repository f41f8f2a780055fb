"""What a budget buys: precisions are lowered where they save most and harm least, until the bundle is small enough, or
for as long as the masks bear it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from glus_edge.runtime.errors import InputError

_UNITS = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_BUDGET = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z&]+)\s*")


class Budget(NamedTuple):
    """Exactly one of the two."""

    size_bytes: int | None  # the whole bundle on disk
    points: float | None  # of J&F lost at most

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """'12 GB', '800 MiB' or '0.5 J&F'. InputError: neither."""
        match = _BUDGET.fullmatch(text)
        unit = match[2].upper() if match else ""
        if match and unit in _UNITS:
            return cls(int(float(match[1]) * _UNITS[unit]), None)
        if match and unit == "J&F":
            return cls(None, float(match[1]))
        raise InputError(f"--budget: got {text!r}, expected a size ('12 GB') or a loss in points ('0.5 J&F')")


class Option(NamedTuple):
    """One way to store a unit: all its matrices in one precision."""

    precision: str
    size_bytes: int
    harm: float  # of the unit in this precision alone, any unit of measure that all options share


class Step(NamedTuple):
    """One unit goes to a lower precision."""

    graph: str
    unit: str
    precision: str
    saved_bytes: int  # against the unit's precision before this step
    harm: float  # beyond that of the precision before; never below zero


Unit = tuple[str, str]  # graph and name


def ordered_steps(sizes: Mapping[Unit, int], options: Mapping[Unit, Sequence[Option]]) -> list[Step]:
    """Every step worth taking, in the order in which to take them: least harm for a byte saved first.

    sizes: what each unit takes as the source has it. A unit's own steps go down in size; one that harms more and saves
    less than another of the same unit is left out (the lower convex hull of harm over bytes saved), so that harm per byte
    rises along a unit's steps.
    """
    steps: list[Step] = []
    for unit, offered in options.items():
        at = Option("", sizes[unit], 0.0)
        smaller = [option for option in offered if option.size_bytes < at.size_bytes]
        while smaller:
            best = min(smaller, key=lambda option: _price(at, option))
            saved = at.size_bytes - best.size_bytes
            steps.append(Step(*unit, best.precision, saved, max(0.0, best.harm - at.harm)))
            at = best
            smaller = [option for option in smaller if option.size_bytes < at.size_bytes]
    return sorted(steps, key=lambda step: step.harm / step.saved_bytes)


def _price(at: Option, to: Option) -> tuple[float, int]:
    saved = at.size_bytes - to.size_bytes
    return max(0.0, to.harm - at.harm) / saved, to.size_bytes


def within_size(steps: Sequence[Step], source_bytes: int, budget_bytes: int) -> int:
    """How many steps to take from the first. InputError: not even all of them; it says what they come to."""
    size = source_bytes
    for taken, step in enumerate(steps):
        if size <= budget_bytes:
            return taken
        size -= step.saved_bytes
    if size <= budget_bytes:
        return len(steps)
    raise InputError(
        f"--budget: got {budget_bytes / 1e6:.1f} MB, expected at least {size / 1e6:.1f} MB, all that can be lowered at its "
        "lowest; give that much, or export a smaller model"
    )


def within_loss(steps: int, loss: Callable[[int], float], budget_points: float) -> int:
    """The most steps whose measured loss stays within the budget, found by halving; `loss(n)` of the first n steps.

    InputError: not even the first step; it says what that loses.
    """
    low, high = 0, steps + 1  # the first `low` steps are known to fit, `high` are not
    least = float("inf")
    while high - low > 1:
        middle = (low + high) // 2
        lost = loss(middle)
        if lost <= budget_points:
            low = middle
        else:
            high, least = middle, lost
    if low == 0 and steps:
        raise InputError(
            f"--budget: got {budget_points:g} J&F, expected at least {least:.3f}, what the gentlest step loses on these "
            "videos; allow that much, or keep the bundle as it is"
        )
    return low
