import pytest

from glus_edge.benchmarks.profiler.summary import jitter, latencies, percentiles, summary
from glus_edge.benchmarks.records.frame_sample import SourceCount
from tests.benchmarks.records.samples import frame, run


def test_percentiles_are_those_of_all_frames() -> None:
    figures = percentiles([float(number) for number in range(1001)])
    assert (figures.p50, figures.p90, figures.p99, figures.p999, figures.longest) == pytest.approx(
        (500, 900, 990, 999, 1000)
    )


def test_jitter_is_the_mean_step_between_neighbours_of_one_source() -> None:
    stages = ({"a": 10.0}, {"a": 14.0}, {"a": 10.0}, {"a": 30.0})
    frames = tuple(frame(number, each, stream=number // 3) for number, each in enumerate(stages))
    assert jitter(run(frames)) == pytest.approx(4.0)
    assert jitter(run(frames[:1])) == 0.0


def test_a_clip_of_the_server_is_done_with_its_last_frame() -> None:
    frames = tuple(
        frame(
            number, stream=number // 2, arrived_s=float(number // 2), started_s=float(number), finished_s=number + 0.5
        )
        for number in range(4)
    )
    assert latencies(run(frames, scenario="server")) == pytest.approx([1500.0, 2500.0])


def test_energy_is_a_frame_and_without_idleness() -> None:
    figures = summary(run(counts=(SourceCount(0, 30, 24, 6, 2),)))
    assert figures.joules_a_frame == {"rapl: package-0": pytest.approx(4.0 / 24)}
    assert (figures.sent, figures.skipped, figures.late) == (30, 6, 2)


def test_a_run_without_frames_has_no_figures_unless_no_stream_was_kept_up_with() -> None:
    with pytest.raises(ValueError, match="got no frame"):
        summary(run(()))
    assert summary(run((), scenario="streams", sources=0)).streams == 0
