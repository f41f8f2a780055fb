"""Progress of a compilation, and Ctrl-C: the compiler runs in a thread and asks at every step whether to go on."""

import gc
import threading
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from glus_edge.runtime.utils.termination import interruption_put_off

T = TypeVar("T")


class BuildMonitor:
    """What one build is doing. TensorRT reports from any thread; `on_step` is told phase, step and steps."""

    def __init__(self, on_step: Callable[[str, int, int], None] | None = None) -> None:
        self.steps_done = 0
        self.cancelled = False
        self._on_step = on_step
        self._totals: dict[str, int] = {}

    def start(self, phase: str, steps: int) -> None:
        """A phase begins."""
        self._totals[phase] = steps
        self._tell(phase, 0)

    def step(self, phase: str, step: int) -> bool:
        """A step is done; False stops the build."""
        self.steps_done += 1
        self._tell(phase, step + 1)
        return not self.cancelled

    def finish(self, phase: str) -> None:
        """A phase ended, perhaps before its last step."""
        total = self._totals.pop(phase, None)
        if total is not None and self._on_step is not None:
            self._on_step(phase, total, total)

    def _tell(self, phase: str, done: int) -> None:
        if self._on_step is not None and phase in self._totals:
            self._on_step(phase, done, self._totals[phase])


def progress_monitor(api: Any, monitor: BuildMonitor) -> Any:
    """A TensorRT IProgressMonitor that reports to `monitor`."""

    class Adapter(api.IProgressMonitor):  # type: ignore[misc]
        """TensorRT's names for what BuildMonitor is told."""

        def __init__(self) -> None:
            api.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            monitor.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return monitor.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            monitor.finish(phase_name)

    return Adapter()


def run_cancellable(build: Callable[[], T], monitor: BuildMonitor | None) -> T:
    """The result of `build`. It runs in a thread: Python sees Ctrl-C only while its main thread runs Python.

    It must not see it in a callback of the compiler's either, which takes the exception for an error of its own. A
    KeyboardInterrupt cancels through `monitor`, waits for the compiler to stop and for its objects to be gone, and is
    raised again: what is left of them as the interpreter ends calls back into it, and the process dies.
    """
    if monitor is None:
        return build()
    results: list[T] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            results.append(build())
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread below
            traceback.clear_frames(error.__traceback__)
            failures.append(error)
        finally:
            done.set()

    done = threading.Event()

    def cancel() -> None:
        monitor.cancelled = True

    # Not Thread.join, and no exception while waiting: interrupted, that of Python 3.11 takes the thread for ended.
    with interruption_put_off(cancel):
        threading.Thread(target=work, name="tensorrt-build").start()
        while not done.wait(0.1):
            pass
        if monitor.cancelled:
            gc.collect()
    if failures:
        raise failures[0]
    return results[0]
