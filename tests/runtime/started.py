"""A command in a process of its own, to be stopped as people and services stop it."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def started(*arguments: object) -> "Iterator[subprocess.Popen[str]]":
    """`glus-edge ARGUMENTS`, which is gone when the block ends, whatever happened."""
    command = [sys.executable, "-m", "glus_edge.runtime.cli", *map(str, arguments)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_interrupts,
    ) as running:
        try:
            yield running
        except BaseException:
            running.kill()
            raise


def _heed_interrupts() -> None:
    """Shells start what runs in the background deaf to Ctrl-C, and so would its children be."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
