from dataclasses import replace

import pytest

from glus_edge.benchmarks.profiler.worst_frames import worst_frames
from glus_edge.benchmarks.records.frame_sample import FrameSample, GraphCall
from glus_edge.benchmarks.records.machine_state import MachineSample
from tests.benchmarks.records.samples import QUIET, frame, run

USUAL = {"decode": 1.0, "language_model": 0.0, "image_encoder": 10.0}


def slow(**changes: object) -> FrameSample:
    """A frame that took 50 ms longer than the usual one."""
    stages = {**USUAL, **changes.pop("stages", {"image_encoder": 60.0})}
    return frame(20, stages, **changes)


def reasons(sample: FrameSample, **changes: object) -> tuple[str, ...]:
    frames = (*(frame(number, USUAL) for number in range(20)), sample)
    worst = worst_frames(run(frames, **changes), cores=2)
    assert worst[0].sample == sample
    assert worst[0].excess_ms == pytest.approx(50.0)
    return worst[0].reasons


def test_the_stage_that_took_longer_is_named_where_no_cause_is_known() -> None:
    assert reasons(slow()) == ("image_encoder took 60.0 ms, usually 10.0",)


def test_the_language_model_is_a_reason_where_it_is_seldom_asked() -> None:
    sample = slow(stages={"language_model": 50.0}, asked=True)
    assert reasons(sample) == ("the language model was asked",)


def test_a_second_call_of_the_language_model_is_the_context() -> None:
    usual = (GraphCall("language_model", 0.0, 1.0, {}, 0),)
    frames = tuple(frame(number, USUAL, calls=usual) for number in range(20))
    sample = slow(stages={"language_model": 50.0}, calls=2 * usual)
    (first, *_) = worst_frames(run((*frames, sample)), cores=2)
    assert first.reasons == ("the context was read anew by the language model",)


def test_garbage_collection_is_a_reason() -> None:
    sample = slow(counters=replace(QUIET, gc_ms=40.0))
    assert reasons(sample)[0] == "garbage collection (40.0 ms)"


def test_waiting_for_decoding_is_a_reason_ahead_of_the_loop_and_within_it() -> None:
    assert reasons(slow(stages={"decode": 51.0})) == ("waited for decoding (51.0 ms)",)
    late = frame(20, USUAL, decode_ms=50.0, started_s=2.05, finished_s=2.061)
    assert reasons(late, scenario="live") == ("waited for decoding (50.0 ms)",)


def test_waiting_for_the_loop_is_a_reason() -> None:
    late = frame(20, USUAL, started_s=2.05, finished_s=2.061)
    assert reasons(late, scenario="live") == ("waited 50.0 ms until the loop was free",)


def test_another_process_is_a_reason_only_where_no_core_was_free() -> None:
    crowded = slow(counters=replace(QUIET, cpu_ms=60.0, other_cpu_ms=60.0))
    assert reasons(crowded)[0] == "another process (60 ms of processor time)"
    roomy = slow(counters=replace(QUIET, cpu_ms=30.0, other_cpu_ms=60.0))
    assert reasons(roomy) == ("image_encoder took 60.0 ms, usually 10.0",)


def test_throttling_is_seen_at_the_next_look_at_the_machine() -> None:
    looks = tuple(
        MachineSample(at, 0, 1.0, 0.0, None, None, why, None, None, {}, {})
        for at, why in ((1.9, ("too early",)), (2.2, ("GPU: power cap",)), (2.5, ("too late",)))
    )
    assert reasons(slow(), machine=looks)[0] == "throttled (GPU: power cap)"


def test_the_ten_slowest_come_first_and_a_run_without_frames_has_none() -> None:
    frames = tuple(frame(number, {"image_encoder": float(number)}) for number in range(30))
    assert [worst.sample.index for worst in worst_frames(run(frames), cores=2)] == list(range(29, 19, -1))
    assert worst_frames(run(()), cores=2) == ()
