"""A timeline in Chrome's trace-event format, which Perfetto opens: stages, engines, threads and waits.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from glus_edge.runtime.utils.atomic_file import write_file


class _Event(NamedTuple):
    thread: int
    name: str
    category: str
    begin: float  # seconds, by time.perf_counter
    end: float
    details: Mapping[str, object]


class _Frame(NamedTuple):
    number: int
    name: str
    arrived: float
    finished: float


class _Level(NamedTuple):
    name: str
    at: float
    value: float


class Trace:
    """Collects events in memory; `write` makes the file. Any thread may add to it."""

    def __init__(self) -> None:
        self._events: list[_Event] = []
        self._frames: list[_Frame] = []
        self._levels: list[_Level] = []
        self._threads: dict[int, str] = {}

    def span(
        self, name: str, category: str, begin: float, end: float, details: Mapping[str, object] | None = None
    ) -> None:
        """Something that the calling thread did. Times are those of time.perf_counter. `category`: stage, engine, wait."""
        thread = threading.get_native_id()
        if thread not in self._threads:
            self._threads[thread] = threading.current_thread().name
        self._events.append(_Event(thread, name, category, begin, end, details or {}))

    def frame(self, name: str, arrived: float, finished: float) -> None:
        """A frame, from its arrival to its masks. Frames may overlap."""
        self._frames.append(_Frame(len(self._frames), name, arrived, finished))

    def level(self, name: str, at: float, value: float) -> None:
        """A quantity that changes with time, such as bytes."""
        self._levels.append(_Level(name, at, value))

    def write(self, path: Path, process: str) -> None:
        """`process`: what the whole timeline is called. OutputError: the file cannot be written."""
        text = json.dumps({"displayTimeUnit": "ms", "traceEvents": self._trace_events(process)}, allow_nan=False)
        write_file(path, text.encode() + b"\n")

    def _trace_events(self, process: str) -> list[dict[str, object]]:
        moments = [
            *(event.begin for event in self._events),
            *(frame.arrived for frame in self._frames),
            *(level.at for level in self._levels),
        ]
        origin = min(moments, default=0.0)

        def microseconds(moment: float) -> float:
            return round(1e6 * (moment - origin), 3)

        common: dict[str, object] = {"pid": os.getpid(), "tid": 0}
        named: list[dict[str, object]] = [{"ph": "M", "name": "process_name", "args": {"name": process}, **common}]
        named += [
            {**common, "ph": "M", "name": "thread_name", "tid": thread, "args": {"name": name}}
            for thread, name in self._threads.items()
        ]
        named += [
            {
                **common,
                "ph": "X",
                "name": event.name,
                "cat": event.category,
                "tid": event.thread,
                "ts": microseconds(event.begin),
                "dur": round(1e6 * (event.end - event.begin), 3),
                "args": dict(event.details),
            }
            for event in self._events
        ]
        named += [  # asynchronous: frames overlap, and belong to no thread
            {**common, "ph": phase, "name": frame.name, "cat": "frame", "id": frame.number, "ts": microseconds(moment)}
            for frame in self._frames
            for phase, moment in (("b", frame.arrived), ("e", frame.finished))
        ]
        named += [
            {**common, "ph": "C", "name": level.name, "ts": microseconds(level.at), "args": {"value": level.value}}
            for level in self._levels
        ]
        return named
