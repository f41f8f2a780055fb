"""Records made up for tests: whole, and small."""

from dataclasses import replace

from glus_edge.benchmarks.instruments.environment import environment
from glus_edge.benchmarks.records.frame_sample import FrameCounters, FrameSample, GraphCall, StageSpan
from glus_edge.benchmarks.records.machine_state import MachineSample, MachineState
from glus_edge.benchmarks.records.profile_record import (
    FORMAT,
    VERSION,
    BundleFacts,
    EnergyUse,
    EngineFacts,
    LoopFacts,
    ProfileRecord,
    ProfileRun,
    VideoFacts,
    Yardstick,
)

QUIET = FrameCounters(cpu_ms=20.0, other_cpu_ms=0.0, gc_ms=0.0, stolen_ms=0.0, quota_ms=None, preemptions=0)
STATE = MachineState("2026-11-26T12:00:00+00:00", (0.1, 0.1, 0.1), (2600.0,), (), None, {}, {}, ())


def frame(number: int = 0, stages_ms: dict[str, float] | None = None, *, block: int = 0, **changes: object):
    """Frame `number` of one that comes every 100 ms, its stages one behind the other."""
    stages_ms = {"image_encoder": 10.0, "mask_decoder": 5.0} if stages_ms is None else stages_ms
    begin, spans = 0.0, []
    for name, ms in stages_ms.items():
        spans.append(StageSpan(name, begin, ms))
        begin += ms
    calls = tuple(GraphCall(span.name, span.begin_ms, span.ms, {"sentences": 1}, 1000) for span in spans)
    arrived = number / 10
    sample = FrameSample(
        stream=0,
        index=number,
        block=block,
        arrived_s=arrived,
        started_s=arrived,
        finished_s=arrived + begin / 1e3,
        decode_ms=0.0,
        asked=False,
        segmented=True,
        stages=tuple(spans),
        calls=calls,
        counters=QUIET,
    )
    return replace(sample, **changes)


def run(frames: tuple[FrameSample, ...] | None = None, **changes: object) -> ProfileRun:
    """One run of the scenario `single`."""
    frames = tuple(frame(number, block=number // 12) for number in range(24)) if frames is None else frames
    blocks = sorted({each.block for each in frames})
    made = ProfileRun(
        name="window, 1 sentence",
        scenario="single",
        loop=LoopFacts("window", "always", "reference", "never", ("the dog",)),
        video=VideoFacts("made up", 480, 854, 10.0),
        sources=1,
        rate=None,
        deadline_ms=None,
        started_s=1.0,
        seconds=sum(each.work_ms for each in frames) / 1e3,
        warm_up_frames=24,
        frames=frames,
        counts=(),
        trials=(),
        yardsticks=tuple(Yardstick(block, 1.0, 2.0) for block in blocks),
        machine=(MachineSample(0.5, 5, 1.0, 0.0, 2600.0, None, (), 10**8, None, {"key/value cache": 10**6}, {}),),
        energy=(EnergyUse("rapl: package-0", 10.0, 2.0, 3.0, True),),
    )
    return replace(made, **changes)


def record(*runs: ProfileRun, **changes: object) -> ProfileRecord:
    """A record of these runs; of `run()` where none are given."""
    made = ProfileRecord(
        format=FORMAT,
        format_version=VERSION,
        disturbances=(),
        started="2026-11-26T12:00:00+00:00",
        command_line=("glus-edge", "bench", "profile"),
        commit=None,
        driver=None,
        environment=environment(1),
        bundle=BundleFacts("tiny", "0" * 64, {}, {}, {}),
        engine=EngineFacts("onnxruntime", "asked for", 2, {}),
        before=STATE,
        after=STATE,
        opened_bytes={"image_encoder": 10**6},
        energy_absent=("nvml: no NVIDIA driver",),
        runs=runs or (run(),),
    )
    return replace(made, **changes)
