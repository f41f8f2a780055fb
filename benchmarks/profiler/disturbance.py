"""What makes a record's samples doubtful, said in sentences. Pure Python."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from glus_edge.benchmarks.records.machine_state import MachineState
from glus_edge.benchmarks.records.profile_record import ProfileRun

OTHER_SHARE = 0.05  # of all usable cores, that other processes may take on average
CROWDED_SHARE = 0.9  # of all cores busy: from there on processes wait for each other
STOLEN_SHARE = 0.01  # of a run's time
DRIFT = 0.1  # of the yardstick, between its 1st and 9th decile
COOLED = 0.95  # of the clock's median, below which a core or GPU counts as slowed down


def disturbances(runs: Sequence[ProfileRun], before: MachineState, after: MachineState, cores: int) -> tuple[str, ...]:
    """`cores`: that the process may use."""
    found: list[str] = []
    for run in runs:
        found += [f"{run.name}: {text}" for text in _of_run(run, cores)]
    for name, count in after.throttle_counts.items():
        more = count - before.throttle_counts.get(name, count)
        if more > 0:
            found.append(f"throttled {more} times ({name})")
    return tuple(found)


def _of_run(run: ProfileRun, cores: int) -> Iterator[str]:
    reasons = Counter(reason for sample in run.machine for reason in sample.throttled)
    for reason, count in reasons.items():
        yield f"throttled in {count / len(run.machine):.0%} of the time ({reason})"
    other = [sample.other_cores for sample in run.machine if sample.other_cores is not None]
    if other and np.mean(other) > OTHER_SHARE * cores:
        crowded = np.mean(
            [sample.own_cores + (sample.other_cores or 0.0) > CROWDED_SHARE * cores for sample in run.machine]
        )
        yield (
            f"other processes took {np.mean(other):.1f} of {cores} cores; all were busy in {crowded:.0%} of the time"
        )
    stolen = sum(frame.counters.stolen_ms or 0.0 for frame in run.frames)
    if stolen > STOLEN_SHARE * 1e3 * run.seconds:
        yield f"the host took {stolen:.0f} ms of processor time from this virtual machine"
    for what, values in (
        ("arithmetic", [each.arithmetic_ms for each in run.yardsticks]),
        ("copies", [each.copy_ms for each in run.yardsticks]),
    ):
        if len(values) >= 5:
            low, high = np.percentile(values, (10, 90))
            if high > (1 + DRIFT) * low:
                yield f"the machine's own speed varied by {high / low - 1:.0%} from block to block ({what})"
    clocks = [sample.core_mhz for sample in run.machine if sample.core_mhz is not None]
    if clocks and min(clocks) < COOLED * float(np.median(clocks)):
        yield f"cores slowed down from {np.median(clocks):.0f} to {min(clocks):.0f} MHz"
