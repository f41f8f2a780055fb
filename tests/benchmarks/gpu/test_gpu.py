"""The GPU benchmark over test doubles: its bookkeeping, not its figures."""

import contextlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from glus_edge.benchmarks.gpu import cases as gpu_cases
from glus_edge.benchmarks.gpu import command as gpu
from glus_edge.benchmarks.gpu import frames as gpu_frames
from glus_edge.benchmarks.gpu import onnxruntime_rows as gpu_onnxruntime
from glus_edge.benchmarks.gpu import tensorrt_rows as gpu_tensorrt
from glus_edge.benchmarks.gpu.cases import FailedCase, bundle_cases, random_cases
from glus_edge.benchmarks.gpu.clock import BuildDeadline, Clock
from glus_edge.benchmarks.gpu.frames import Frames, reference_frames
from glus_edge.benchmarks.gpu.onnxruntime_rows import onnxruntime_rows
from glus_edge.benchmarks.gpu.random_bundle import random_bundle
from glus_edge.benchmarks.gpu.settings import BACKENDS, ORDER
from glus_edge.benchmarks.gpu.tensorrt_rows import TensorRtBench
from glus_edge.benchmarks.gpu.torch_rows import RandomSource, baseline_frames
from glus_edge.benchmarks.instruments.device_peak import measure_device_peak
from glus_edge.benchmarks.reference.reference import Reference
from glus_edge.benchmarks.reference.reference_language import Place
from glus_edge.export.synthetic.sizes import SIZES
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import GRAPHS
from glus_edge.runtime.cli import main
from glus_edge.runtime.errors import EngineError
from tests.runtime.cuda_double import CudaDouble
from tests.runtime.tensorrt_double import tensorrt_double

pytestmark = pytest.mark.torch  # the graphs are written first

PLENTY = 1e6  # seconds


@pytest.fixture(autouse=True)
def few_calls(monkeypatch):
    monkeypatch.setattr(gpu_tensorrt, "WARM_UP", 1)
    monkeypatch.setattr(gpu_tensorrt, "MEASURED", 3)
    monkeypatch.setattr(gpu_frames, "WARM_UP_FRAMES", 5)
    monkeypatch.setattr(gpu_frames, "BLOCK_FRAMES", 3)
    monkeypatch.setattr(gpu_frames, "MOST_BLOCKS", 1)
    original = measure_device_peak
    monkeypatch.setattr(gpu_tensorrt, "measure_device_peak", lambda *a: original(*a, side=64, copied_bytes=1 << 16))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return random_bundle(SIZES["tiny"], tmp_path_factory.mktemp("graphs"))


@pytest.fixture(scope="module")
def cases(bundle):
    return list(random_cases("tiny", bundle, ORDER, workers=0))


def doubles(bundle, clock, library="tensorrt"):
    cuda = CudaDouble()
    return TensorRtBench(tensorrt_double(cuda, library), cuda, bundle, clock, kept_s=0)


def test_graphs_with_random_weights_have_all_that_a_row_needs(bundle, cases):
    assert sorted(ORDER) == sorted(GRAPHS)
    assert [case.graph for case in cases] == list(ORDER)
    assert [case.precision for case in cases] == ["fp16, int4", *["fp16"] * 5]
    for case in cases:
        assert all(np.isfinite(values).all() for values in case.calls[0].outputs.values()), case.graph
        assert case.work.flops > 0
        assert set(case.seconds) == {"write", "reference"}
    language = cases[0].calls[0]
    assert language.outputs["next_token"].tolist() == [bundle.manifest.prompt.segment_token_id]
    assert language.inputs["prefix_key_0"].shape[0] + language.inputs["inputs_embeds"].shape[1] == 442


def test_a_process_of_its_own_makes_the_same_graph(bundle, cases, tmp_path):
    again = random_bundle(SIZES["tiny"], tmp_path)
    (made,) = random_cases("tiny", again, ["language_model"], workers=1)
    for suffix in ("", ".data"):
        first, second = (each.with_name(each.name + suffix).read_bytes() for each in (cases[0].path, made.path))
        assert first == second
    for name, values in made.calls[0].outputs.items():
        assert np.array_equal(values, cases[0].calls[0].outputs[name]), name


def test_a_process_that_was_ended_is_one_clear_line(bundle, monkeypatch):
    class Ended:
        def submit(self, *_):
            return self

        def result(self):
            raise BrokenProcessPool

    monkeypatch.setattr(gpu_cases, "ProcessPoolExecutor", lambda *_: contextlib.nullcontext(Ended()))
    failures = list(random_cases("tiny", bundle, ORDER))
    assert [failure.graph for failure in failures] == list(ORDER)
    assert all("--size tiny: a process that makes its graphs was ended" in failure.note for failure in failures)


def test_a_graph_that_cannot_be_made_is_a_row_and_the_others_are_made(bundle, monkeypatch):
    def broken(graph, *_):
        raise KeyError(f"no weight of {graph}")

    monkeypatch.setattr(gpu_cases, "write_graph", broken)
    language, encoder = random_cases("tiny", bundle, ["language_model", "clip_encoder"], workers=0)
    assert language.graph == "language_model"
    assert language.calls
    row = encoder.row("tensorrt")
    assert (row.backend, row.graph, row.note) == ("tensorrt", "clip_encoder", "KeyError: 'no weight of clip_encoder'")


@pytest.mark.parametrize("weights", ["int8", "fp16"])
def test_the_language_model_is_made_in_other_weights_too(tmp_path, weights):
    other = random_bundle(SIZES["tiny"], tmp_path, weights)
    (case,) = random_cases("tiny", other, ["language_model"], workers=0)
    assert case.precision == ("fp16" if weights == "fp16" else "fp16, int8")
    assert case.calls[0].outputs["next_token"].tolist() == [other.manifest.prompt.segment_token_id]


def test_every_graph_gets_a_row_and_frames_run_through_all_of_them(bundle, cases):
    bench = doubles(bundle, Clock(PLENTY))
    for case in cases:
        bench.build(case)
    bench.build_pixels()
    rows = list(bench.rows(cases))
    assert [row.graph for row in rows] == ["peak", *ORDER]
    assert "TFLOP/s" in rows[0].note
    for row in rows[1:]:
        assert row.p50_ms == row.p90_ms == 1.0  # the double's clock
        assert row.cosine > 0.99
        assert row.share > 0
        assert row.plan_mb > 0
        assert not row.note
    # graphs whose shapes recur are timed as they run: replayed
    assert bench.device.cuda.calls("launch") >= 5 * 2
    frames = bench.frames()
    assert (frames.policy, len(frames.milliseconds)) == ("window", 3)
    assert frames.segmented == 3
    assert {"language_model", "memory_attention", "memory_encoder"} <= set(frames.stages)
    bench.close()


def test_frames_are_not_run_over_a_part_of_the_graphs(bundle, cases):
    bench = doubles(bundle, Clock(PLENTY))
    for case in cases[1:]:
        bench.build(case)
    bench.build_pixels()
    with pytest.raises(EngineError, match="no engine of language_model, clip_preprocess, sam_preprocess"):
        bench.frames()


def test_the_baseline_is_the_whole_reference_algorithm_in_bfloat16(bundle):
    reference = Reference(RandomSource(SIZES["tiny"], Place("cpu", torch.bfloat16)), bundle)
    frames = reference_frames(reference, "torch", Clock(PLENTY), kept_s=0)
    assert frames.segmented == len(frames.milliseconds) == 3
    assert [row.graph for row in frames.stage_rows("bf16")] == list(GRAPHS)
    ours = Frames("tensorrt", "window", [each / 10 for each in frames.milliseconds], {}, 3)
    assert "10.00 times torch" in ours.row(frames).note
    assert "only 2 of 3 with [SEG]" in Frames("tensorrt", "window", [1.0, 1.0, 1.0], {}, 2).row().note


def test_a_gpu_that_torch_has_no_kernels_for_is_said(bundle, monkeypatch):
    def no_kernel(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nsee elsewhere")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", no_kernel)
    with pytest.raises(EngineError, match="cannot compute on this GPU .*no kernel image is available") as caught:
        baseline_frames(SIZES["tiny"], bundle, Clock(PLENTY), kept_s=0)
    assert "\n" not in str(caught.value)


def test_onnxruntimes_provider_is_compared_and_timed_while_there_is_time(cases):
    rows = list(onnxruntime_rows(cases[-1:], Clock(PLENTY), "CPUExecutionProvider"))
    assert rows[0].cosine > 0.999
    assert rows[0].p50_ms > 0
    (row,) = onnxruntime_rows(cases[-1:], Clock(0), "CPUExecutionProvider")
    assert (row.p50_ms, row.note) == (None, "not run: the 0 s are up; see --seconds")


def test_outputs_that_are_not_numbers_are_not_hidden_by_others_that_are(cases, monkeypatch):
    found = iter([(0.9, 0.5), (float("nan"), float("nan")), *[(1.0, 0.0)] * 9])
    monkeypatch.setattr(gpu_onnxruntime, "closeness", lambda *_: next(found))
    (row,) = onnxruntime_rows(cases[4:5], Clock(PLENTY), "CPUExecutionProvider")
    assert row.graph == "mask_decoder"
    assert np.isnan([row.cosine, row.relative_l2]).all()


@pytest.mark.parametrize("error", ["EPFail", "InvalidArgument", "InvalidGraph", "Fail"])
def test_a_graph_that_a_provider_refuses_is_a_row_that_says_so(cases, monkeypatch, error):
    def refuse(*_, **__):
        raise getattr(ort_errors, error)("no kernel\nfor it")

    monkeypatch.setattr(gpu_onnxruntime.onnxruntime, "InferenceSession", refuse)
    (row,) = onnxruntime_rows(cases[-1:], Clock(PLENTY), "CPUExecutionProvider")
    assert (row.note, row.p50_ms) == (f"{error}: no kernel for it", None)


def test_a_disk_without_room_for_the_graphs_is_said(bundle, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gpu_cases, "write_language_model", full)
    (failure,) = random_cases("tiny", bundle, ["language_model"], workers=0)
    assert isinstance(failure, FailedCase)
    assert "(No space left on device), expected room for the graphs" in failure.note


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frames", "0"], "--frames: got 0, expected more than 0"),
        (["--seconds", "nan"], "--seconds: got nan"),
        (["--seconds", "inf"], "--seconds: got inf"),
        (["--output", "nowhere/r.json"], "nowhere/r.json: cannot be written"),
    ],
)
def test_a_wrong_argument_is_one_line(arguments, message, capsys):
    assert main(["bench", "gpu", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_engine_that_does_not_build_is_a_row_that_says_so(bundle, cases, monkeypatch):
    def refuse(*_, **__):
        raise EngineError("no kernel for it")

    monkeypatch.setattr(gpu_tensorrt, "plan_from_onnx", refuse)
    bench = doubles(bundle, Clock(PLENTY))
    bench.build(cases[0])
    (row,) = bench.rows(cases[:1])
    assert (row.note, row.p50_ms) == ("no kernel for it", None)


def test_building_ends_with_the_budget(bundle, cases, monkeypatch):
    def endless(*_, monitor, **__):
        while monitor.step("tactics", 0):
            time.sleep(0.001)
        raise EngineError("cancelled")

    monkeypatch.setattr(gpu_tensorrt, "plan_from_onnx", endless)
    bench = doubles(bundle, Clock(0.05))
    for case in cases[:2]:
        bench.build(case)
    stopped, left_out = bench.rows(cases[:2])
    assert stopped.note.startswith("building was stopped: the 0 s are up")
    assert left_out.note.startswith("not built: the 0 s are up")


def test_a_deadline_leaves_what_is_to_be_kept():
    assert BuildDeadline(Clock(10), kept_s=1).step("tactics", 0)
    assert not BuildDeadline(Clock(10), kept_s=11).step("tactics", 0)


def test_a_bundles_graphs_are_taken_as_they_are(golden_bundle):
    (found,) = bundle_cases(Bundle.open(golden_bundle), 2, ("memory_encoder",))
    assert found.precision == "fp32"
    assert found.calls


def test_nothing_is_made_where_nothing_can_run_it(monkeypatch, capsys, tmp_path):
    def missing(*_):
        raise EngineError("CUDA: got no driver, expected one")

    monkeypatch.setattr(gpu, "open_cuda", missing)
    monkeypatch.setattr(gpu_cases, "random_case", None)
    target = tmp_path / "record.json"
    assert main(["bench", "gpu", "--size", "tiny", "--output", str(target)]) == 0
    record = json.loads(target.read_text())
    assert {row["backend"] for row in record["rows"]} == {"torch", "tensorrt", "tensorrt-rtx", "onnxruntime-cuda"}
    assert all(row["note"] and row["p50_ms"] is None for row in record["rows"])
    assert (record["budget_s"], record["frames"]) == (300, [])
    assert set(record["phases"]) == {"bundle"}
    assert record["command_line"][:4] == ["glus-edge", "bench", "gpu", "--size"]
    assert record["settings"]["backends"] == list(BACKENDS)
    assert main(["bench", "gpu", "--size", "tiny", "--output", str(target)]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize("error", [RuntimeError("Failed to dlopen libcuda.so.1"), KeyError("a name")])
def test_a_backend_that_fails_in_any_way_is_a_row_and_the_run_goes_on(monkeypatch, tmp_path, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(gpu, "load_tensorrt", fail)
    target = tmp_path / "record.json"
    assert main(["bench", "gpu", "--size", "tiny", "--output", str(target)]) == 0
    rows = [row for row in json.loads(target.read_text())["rows"] if row["backend"].startswith("tensorrt")]
    assert [row["note"] for row in rows] == [f"{type(error).__name__}: {error}"] * 2


# ONNX Runtime on the CPU stands in for its CUDA provider.
ON_THE_CPU = """
import runpy
from glus_edge.benchmarks.gpu import command, onnxruntime_rows
command.provider_missing = lambda: ""
onnxruntime_rows.onnxruntime_rows.__defaults__ = ("CPUExecutionProvider",)
runpy.run_module("glus_edge.benchmarks.gpu", run_name="__main__", alter_sys=True)
"""


def test_it_runs_from_a_checkout_without_av_and_sam2(tmp_path):
    for package in ("av", "sam2", "hydra", "omegaconf", "iopath"):
        (tmp_path / f"{package}.py").write_text(
            f"raise ModuleNotFoundError('No module named {package}', name={package!r})"
        )
    target = tmp_path / "record.json"
    done = subprocess.run(
        [sys.executable, "-c", ON_THE_CPU, "--size", "tiny", "--output", str(target)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = {(row["backend"], row["graph"]): row for row in json.loads(target.read_text())["rows"]}
    assert "No module named sam2" in rows["torch", ""]["note"]
    for graph in GRAPHS:
        row = rows["onnxruntime-cuda", graph]
        if graph in ("language_model", "clip_encoder"):
            assert row["p50_ms"] > 0, row
        else:
            assert row["note"] == "ModuleNotFoundError: No module named sam2"


def test_a_whole_run_builds_with_what_is_here_and_compares_frames(golden_bundle, monkeypatch, capsys, tmp_path):
    cuda = CudaDouble()
    monkeypatch.setattr(gpu, "open_cuda", lambda: cuda)
    monkeypatch.setattr(gpu, "load_tensorrt", lambda library: tensorrt_double(cuda, library))
    target = tmp_path / "record.json"
    assert main(["bench", "gpu", "--bundle", str(golden_bundle), "--output", str(target)]) == 0
    record = json.loads(target.read_text())
    graphs = [row["graph"] for row in record["rows"] if row["backend"] == "tensorrt"]
    assert graphs == ["peak", *ORDER, "frame"]
    assert [frames["backend"] for frames in record["frames"]] == ["tensorrt", "tensorrt-rtx"]
    assert record["frames"][0]["frames_per_second"] > 0
    assert record["phases"]["language_model: reference"] > 0
    assert "waiting for graphs" in capsys.readouterr().out
