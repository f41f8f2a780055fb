"""`glus-edge bench compare`: what differs between records beyond noise."""

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from glus_edge.benchmarks.latency.bench_table import columns
from glus_edge.benchmarks.profiler.comparison import TOLERATE, RunComparison, StageDifference, compare_runs
from glus_edge.benchmarks.records.profile_record import ProfileRecord, ProfileRun
from glus_edge.benchmarks.records.record_io import read_profile
from glus_edge.runtime.errors import InputError

REGRESSION = 1  # exit code


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "records",
        nargs="+",
        type=Path,
        metavar="RECORD",
        help="of `bench profile`: the first is what the others are compared with; of one alone, its first run with its "
        "others, which took turns",
    )
    parser.add_argument(
        "--tolerate",
        type=float,
        default=100 * TOLERATE,
        metavar="PERCENT",
        help="a stage that is slower beyond noise and by more than this ends the command with code 1 (default: "
        "%(default)g)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints what differs; 1 where something got slower beyond what is tolerated."""
    if not (math.isfinite(arguments.tolerate) and arguments.tolerate >= 0):
        raise InputError(f"--tolerate: got {arguments.tolerate:g}, expected 0 or more")
    records = [read_profile(path) for path in arguments.records]
    for path, record in zip(arguments.records, records, strict=True):
        for text in record.disturbances:
            print(f"{path.name} was DISTURBED: {text}")
    tolerate = arguments.tolerate / 100
    code = 0
    for title, comparisons in _comparisons(arguments.records, records, tolerate):
        print(title)
        for line in _table(comparisons):
            print(line)
        for each in comparisons:
            for worse in each.regressions(tolerate):
                print(f"REGRESSION: {each.second}: {worse.stage} takes {worse.change:.1%} longer")
                code = REGRESSION
    return code


def _comparisons(
    paths: Sequence[Path], records: Sequence[ProfileRecord], tolerate: float
) -> Iterator[tuple[str, list[RunComparison]]]:
    first, *others = records
    if not others:
        base, *rest = first.runs
        if not rest or base.scenario != "single":
            raise InputError(
                f"{paths[0]}: got one record with {len(first.runs)} runs of {base.scenario}, expected two records, or one "
                "with several runs of single"
            )
        yield f"{base.name}, and what took turns with it", [_compare(base, each, True, tolerate) for each in rest]
        return
    for base in first.runs:
        found = []
        for path, record in zip(paths[1:], others, strict=True):
            same = [each for each in record.runs if (each.scenario, each.name) == (base.scenario, base.name)]
            if not same:
                names = ", ".join(f"{each.scenario} {each.name}" for each in record.runs)
                raise InputError(
                    f"{path}: got {names}, expected {base.scenario} {base.name} as in {paths[0]}: profile both alike"
                )
            found.append(_compare(base, same[0], False, tolerate))
        yield f"{base.scenario}, {base.name}: {', '.join(str(path) for path in paths)}", found


def _compare(first: ProfileRun, second: ProfileRun, paired: bool, tolerate: float) -> RunComparison:
    try:
        return compare_runs(first, second, paired=paired, tolerate=tolerate)
    except ValueError as error:
        raise InputError(f"{error}; measure more --frames") from error


def _table(comparisons: Sequence[RunComparison]) -> Iterator[str]:
    """A row a stage, two columns a comparison."""
    for each in comparisons:
        how = "in turns" if each.paired else "apart"
        yield f"{each.second}: measured {how}, noise floor {each.floor:.1%}"
    names = list(dict.fromkeys(stage.stage for each in comparisons for stage in each.stages))
    head = ["", "first, ms"]
    for number in range(2, len(comparisons) + 2):
        head += [f"no. {number}, ms", "change", "interval", ""]
    rows: list[tuple[str, ...]] = [tuple(head)]
    for name in names:
        stages = [{stage.stage: stage for stage in each.stages}.get(name) for each in comparisons]
        known = next(stage for stage in stages if stage is not None)
        rows.append((name, f"{known.first_ms:.2f}", *(cell for stage in stages for cell in _cells(stage))))
    yield from columns(rows)


def _cells(stage: StageDifference | None) -> tuple[str, str, str, str]:
    if stage is None:
        return ("", "", "", "")
    interval = f"[{stage.low:+.1%}, {stage.high:+.1%}]"
    return f"{stage.second_ms:.2f}", f"{stage.change:+.1%}", interval, stage.verdict
