import json
import threading
from pathlib import Path

from glus_edge.benchmarks.profiler.trace import Trace


def test_spans_frames_and_levels_are_events_in_microseconds(tmp_path: Path) -> None:
    trace = Trace()
    trace.span("mask_decoder", "stage", 10.001, 10.003, {"sentences": 2})
    other = threading.Thread(target=trace.span, args=("decode", "stage", 10.0, 10.002), name="glus-edge-ahead")
    other.start()
    other.join()
    trace.frame("frame 0", 10.0, 10.5)
    trace.level("resident MB", 10.25, 300.0)
    trace.write(tmp_path / "t.json", "a profile")
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    spans = {event["name"]: event for event in events if event["ph"] == "X"}
    assert (spans["mask_decoder"]["ts"], spans["mask_decoder"]["dur"]) == (1000.0, 2000.0)
    assert spans["mask_decoder"]["args"] == {"sentences": 2}
    assert spans["decode"]["ts"] == 0.0
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert names[spans["decode"]["tid"]] == "glus-edge-ahead"
    assert names[spans["mask_decoder"]["tid"]] == "MainThread"
    begin, end = (next(event for event in events if event["ph"] == phase) for phase in "be")
    assert (begin["id"], begin["name"], end["ts"] - begin["ts"]) == (end["id"], end["name"], 500_000.0)
    (level,) = [event for event in events if event["ph"] == "C"]
    assert (level["ts"], level["args"]) == (250_000.0, {"value": 300.0})
    assert all({"ph", "pid", "tid", "name"} <= set(event) for event in events)


def test_a_trace_of_nothing_is_a_file_too(tmp_path: Path) -> None:
    Trace().write(tmp_path / "t.json", "nothing")
    assert len(json.loads((tmp_path / "t.json").read_text())["traceEvents"]) == 1
