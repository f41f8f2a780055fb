"""Runs a scenario with every contender, and puts the record together."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime, timezone

from glus_edge.benchmarks.instruments.environment import GPU_PACKAGES, PACKAGES, environment
from glus_edge.benchmarks.instruments.yardstick import YardstickWork
from glus_edge.benchmarks.profiler.clips import ClipRunner
from glus_edge.benchmarks.profiler.disturbance import disturbances
from glus_edge.benchmarks.profiler.live_trial import STREAM_WARM_UP_FRAMES, LiveRunner, TrialCount
from glus_edge.benchmarks.profiler.opened import Opened, Wrap
from glus_edge.benchmarks.profiler.provenance import bundle_facts, commit
from glus_edge.benchmarks.profiler.run_builder import Instruments, RunBuilder
from glus_edge.benchmarks.profiler.settings import SKIPPED_SHARE, VERIFYING_RUNS, WARM_UP_FRAMES, ProfileSettings
from glus_edge.benchmarks.profiler.single import SingleRunner
from glus_edge.benchmarks.profiler.stream_search import most_streams
from glus_edge.benchmarks.profiler.trace import Trace
from glus_edge.benchmarks.records.profile_record import (
    FORMAT,
    VERSION,
    EngineFacts,
    ProfileRecord,
    ProfileRun,
    StreamTrial,
    VideoFacts,
)
from glus_edge.benchmarks.sensors.energy import EnergyMeters, energy_meters
from glus_edge.benchmarks.sensors.machine_watch import MachineWatch, machine_state
from glus_edge.benchmarks.sensors.nvml import Nvml
from glus_edge.runtime.errors import EngineError, InputError
from glus_edge.runtime.open_backend import BackendChoice, SegmenterOptions
from glus_edge.runtime.tensorrt.library import LIBRARIES
from glus_edge.runtime.utils.progress import Progress, silent


def profile(
    settings: ProfileSettings, command_line: tuple[str, ...], progress: Progress, wrap: Wrap | None = None
) -> ProfileRecord:
    """Measures. `wrap` puts something around every engine. Errors: those of the bundle, video, policies and backend."""
    trace = Trace() if settings.trace else None
    with ExitStack() as stack:
        nvml, why_not = _nvml(stack)
        meters = stack.enter_context(energy_meters(nvml or why_not))
        before = machine_state(nvml)
        opened = stack.enter_context(Opened(settings, wrap=wrap, trace=trace))
        watch = stack.enter_context(MachineWatch(nvml, opened.owners.bytes, meters.joules, lambda: opened.measured))
        started, origin = datetime.now(timezone.utc), time.perf_counter()
        instruments = Instruments(meters, watch, YardstickWork(), _idle_watts(meters, settings.idle_s), origin)
        builders = _run(opened, instruments, progress)
        video = opened.keep(opened.video(1))
        facts = VideoFacts(
            name=settings.video.name if settings.video else "made up",
            height=video.size.height,
            width=video.size.width,
            frame_rate=float(video.frame_rate),
        )
        runs = tuple(builder.build(facts) for builder in builders)
        where = environment(settings.options.onnxruntime.threads, (*PACKAGES, *GPU_PACKAGES))
        after = machine_state(nvml)
        if trace is not None and settings.trace is not None:
            for moment, sample in watch.all():
                trace.level("own cores", moment, sample.own_cores)
                if sample.resident_bytes is not None:
                    trace.level("resident MB", moment, sample.resident_bytes / 1e6)
            trace.write(settings.trace, f"glus-edge bench profile, {settings.scenario}")
        return ProfileRecord(
            format=FORMAT,
            format_version=VERSION,
            disturbances=disturbances(runs, before, after, where.processor.usable_threads),
            started=started.isoformat(timespec="seconds"),
            command_line=command_line,
            commit=commit(),
            driver=None if nvml is None else nvml.driver,
            environment=where,
            bundle=bundle_facts(settings.bundle, opened.bundle.manifest),
            engine=_engine_facts(settings.options, opened.segmenter.choice),
            before=before,
            after=after,
            opened_bytes=opened.backend.opened_bytes,
            energy_absent=meters.absent,
            runs=runs,
        )


def measured_in_turns(settings: ProfileSettings, wrap: Wrap, activate: Callable[[int], None]) -> tuple[ProfileRun, ...]:
    """The scenario `single` alone, without a record: `activate` is told which contender's turn comes."""
    with ExitStack() as stack:
        opened = stack.enter_context(Opened(settings, wrap=wrap))
        meters = EnergyMeters((), ())
        watch = stack.enter_context(MachineWatch(None, opened.owners.bytes, meters.joules, lambda: opened.measured))
        instruments = Instruments(meters, watch, YardstickWork(), {}, time.perf_counter())
        builders = _builders(opened, instruments)
        _single(opened, builders, silent, activate)
        facts = VideoFacts("made up", 0, 0, 0.0)
        return tuple(builder.build(facts) for builder in builders)


def _run(opened: Opened, instruments: Instruments, progress: Progress) -> list[RunBuilder]:
    settings = opened.settings
    builders = _builders(opened, instruments)
    run: Callable[[Opened, list[RunBuilder], Progress], None] = {
        "single": _single,
        "live": _live,
        "streams": _streams,
        "server": _server,
        "offline": _offline,
    }[settings.scenario]
    run(opened, builders, progress)
    return builders


def _builders(opened: Opened, instruments: Instruments) -> list[RunBuilder]:
    return [
        RunBuilder(opened, instruments, policy, opened.sentences(count), WARM_UP_FRAMES)
        for policy in opened.settings.policies
        for count in opened.settings.sentences
    ]


def _single(
    opened: Opened,
    builders: list[RunBuilder],
    progress: Progress,
    activate: Callable[[int], None] = lambda contender: None,
) -> None:
    """In turns: warm-up first, then rounds whose direction changes every time."""
    runners = [SingleRunner(opened, builder) for builder in builders]
    for runner in runners:
        runner.warm_up()
    order = list(enumerate(runners))
    turns = [turn for number in range(opened.settings.blocks) for turn in (order if number % 2 else order[::-1])]
    for contender, runner in progress(turns, len(turns), "measuring, in blocks"):
        activate(contender)
        runner.block()


def _live(opened: Opened, builders: list[RunBuilder], progress: Progress) -> None:
    for builder in progress(builders, len(builders), "measuring live"):
        runner, builder.rate = _live_runner(opened, builder)
        builder.deadline_ms = opened.settings.deadline_ms or 1e3 / builder.rate
        runner.warm_up(1, WARM_UP_FRAMES)
        builder.counts = runner.trial(1, keep=True).counts


def _streams(opened: Opened, builders: list[RunBuilder], progress: Progress) -> None:
    for builder in progress(builders, len(builders), "searching the number of streams"):
        runner, builder.rate = _live_runner(opened, builder)
        builder.deadline_ms = opened.settings.deadline_ms or 1e3 / builder.rate
        builder.warm_up_frames = STREAM_WARM_UP_FRAMES
        builder.sources = _most_streams(opened.settings, builder, runner)


def _most_streams(settings: ProfileSettings, builder: RunBuilder, runner: LiveRunner) -> int:
    trials: list[StreamTrial] = []

    def attempt(streams: int, verifies: bool) -> bool:
        runner.warm_up(streams, STREAM_WARM_UP_FRAMES)
        done: TrialCount = runner.trial(streams, keep=verifies)
        trials.append(StreamTrial(streams, done.seconds, done.sent, done.skipped, verifies))
        builder.trials, builder.counts = trials, done.counts
        return done.skipped <= SKIPPED_SHARE * done.sent

    def verified(streams: int) -> bool:
        return all(attempt(streams, True) for _ in range(VERIFYING_RUNS))

    return most_streams(lambda streams: attempt(streams, False), verified, settings.maximum_streams)


def _server(opened: Opened, builders: list[RunBuilder], progress: Progress) -> None:
    for builder in progress(builders, len(builders), "serving clips"):
        runner = ClipRunner(opened, builder)
        builder.warm_up_frames = 2 * opened.settings.clip_frames
        runner.warm_up()
        runner.server(runner.warm_up())


def _offline(opened: Opened, builders: list[RunBuilder], progress: Progress) -> None:
    for builder in progress(builders, len(builders), "measuring videos"):
        runner = ClipRunner(opened, builder)
        builder.warm_up_frames, builder.sources = opened.settings.clip_frames, runner.clips
        runner.warm_up()
        runner.offline()


def _live_runner(opened: Opened, builder: RunBuilder) -> tuple[LiveRunner, float]:
    video = opened.keep(opened.video(1))
    rate = opened.settings.rate or float(video.frame_rate)
    if not rate > 0:
        raise InputError(f"--rate: got none, and {video.path.name} says {rate} frames a second; give one")
    return LiveRunner(opened, builder, rate), rate


def _nvml(stack: ExitStack) -> tuple[Nvml | None, str]:
    try:
        return stack.enter_context(Nvml()), ""
    except EngineError as error:  # a machine without a GPU has a profile too; the record says what it lacks
        return None, str(error)


def _idle_watts(meters: EnergyMeters, seconds: float) -> dict[str, float]:
    """Of each source, with engines open and nothing running."""
    if not meters.meters or not seconds:
        return {}
    before, begin = meters.joules(), time.perf_counter()
    time.sleep(seconds)
    after, end = meters.joules(), time.perf_counter()
    return {source: (joules - before[source]) / (end - begin) for source, joules in after.items()}


def _engine_facts(options: SegmenterOptions, choice: BackendChoice) -> EngineFacts:
    own = getattr(options, "tensorrt" if choice.backend in LIBRARIES else choice.backend.replace("-", "_"))
    return EngineFacts(
        backend=choice.backend,
        reason=choice.reason,
        threads=options.onnxruntime.threads,
        options={name: str(value) for name, value in asdict(own).items()},
    )
