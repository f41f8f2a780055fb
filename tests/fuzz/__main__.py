"""`python -m tests.fuzz [TARGET ...] [--count N] [--seed S]`: N mutated inputs for each target, from seed S on.

Each target runs in a process of its own. A fault, a crash or an input that takes more than 20 s ends that process; the
seed is printed, and the next process goes on behind it.
"""

import argparse
import faulthandler
import importlib
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.targets import EXPORT_TARGETS, TARGETS, run_one

_LIMIT_S = 20.0
_MEMORY = 6 << 30  # bytes of address space; a reader that wants more is at fault


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--count", type=int, default=100_000, help="inputs for each target (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the first one (default: %(default)s)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        return _inside(arguments.targets[0], arguments.seed, arguments.count)
    return max(_outside(target, arguments.seed, arguments.count) for target in arguments.targets or TARGETS)


def _outside(target: str, first: int, count: int) -> int:
    """Runs processes until all inputs were tried. 1: there were faults."""
    seed, faults, taken = first, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        progress = Path(folder) / "progress"
        while seed < first + count:
            progress.write_text(f"{seed} 0")
            command = [sys.executable, "-m", "tests.fuzz", target, "--inside", "--seed", str(seed)]
            process = subprocess.run(
                [*command, "--count", str(first + count - seed)],
                env={**os.environ, "FUZZ_FOLDER": folder},
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
            reached, accepted = map(int, progress.read_text().split())
            taken += accepted
            if process.returncode == 0:
                break
            faults += 1
            tail = "\n    ".join(process.stderr.splitlines()[-12:])
            print(f"{target}: seed {reached} ended with {process.returncode}\n    {tail}", flush=True)
            seed = reached + 1
    print(f"{target}: {count} inputs from seed {first}, {taken} read, {faults} faults", flush=True)
    return 1 if faults else 0


def _inside(target: str, first: int, count: int) -> int:
    folder = Path(os.environ["FUZZ_FOLDER"])
    if target in EXPORT_TARGETS:
        importlib.import_module("tests.fuzz.export_targets")  # torch takes seconds, which are no input's
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    accepted = 0
    inputs = folder / "input"
    inputs.mkdir(exist_ok=True)
    for seed in range(first, first + count):
        (folder / "progress").write_text(f"{seed} {accepted}")
        faulthandler.dump_traceback_later(_LIMIT_S, exit=True)
        accepted += run_one(target, seed, inputs)
        faulthandler.cancel_dump_traceback_later()
    (folder / "progress").write_text(f"{first + count} {accepted}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
