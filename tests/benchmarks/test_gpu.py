"""The GPU benchmark over test doubles: its bookkeeping, not its figures."""

import json
from dataclasses import replace

import numpy as np
import pytest

from glus_edge.benchmarks import gpu, gpu_row
from glus_edge.benchmarks.device_peak import measure_device_peak
from glus_edge.benchmarks.gpu_cases import bundle_cases, random_cases
from glus_edge.benchmarks.gpu_onnxruntime import onnxruntime_rows
from glus_edge.export.synthetic_sizes import SIZES
from glus_edge.runtime.bundle import Bundle
from glus_edge.runtime.errors import EngineError
from glus_edge.runtime.signatures import GRAPHS
from tests.runtime.cuda_double import CudaDouble
from tests.runtime.tensorrt_double import tensorrt_double

pytestmark = pytest.mark.torch  # the graphs are written first


@pytest.fixture(autouse=True)
def few_calls(monkeypatch):
    monkeypatch.setattr(gpu, "WARM_UP", 1)
    monkeypatch.setattr(gpu, "MEASURED", 3)
    original = measure_device_peak
    monkeypatch.setattr(gpu, "measure_device_peak", lambda *a: original(*a, side=64, copied_bytes=1 << 16))


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return random_cases(SIZES["tiny"], tmp_path_factory.mktemp("graphs"), GRAPHS)


def test_graphs_with_random_weights_have_all_that_a_row_needs(cases):
    assert [case.graph for case in cases] == list(GRAPHS)
    assert [case.precision for case in cases] == ["fp16", "fp16, int4", *["fp16"] * 4]
    for case in cases:
        assert all(np.isfinite(values).all() for values in case.calls[0].outputs.values()), case.graph
    language = cases[1].calls[0]
    assert language.inputs["prefix_key_0"].shape[0] + language.inputs["inputs_embeds"].shape[1] == 442


def test_every_graph_gets_a_row_with_parity_times_and_its_share(cases):
    cuda = CudaDouble()
    rows = list(gpu.tensorrt_rows(tensorrt_double(cuda), cuda, cases))
    assert [row.graph for row in rows] == ["peak", *GRAPHS]
    assert "TFLOP/s" in rows[0].note
    for row in rows[1:]:
        assert row.p50_ms == row.p90_ms == 1.0  # the double's clock
        assert row.cosine > 0.99
        assert row.share > 0
        assert not row.note
    # graphs whose shapes recur are timed as they run: replayed
    assert cuda.calls("launch") >= 5 * 3
    (frame,) = gpu_row.frame_row(rows, [replace(row, p50_ms=10.0) for row in rows])
    assert frame.p50_ms == 6.0
    assert "torch 60.00 ms, 10.0 times as long" in frame.note


def test_a_frame_is_not_summed_from_a_part_of_the_graphs(cases):
    rows = [gpu_row.Row("tensorrt", graph, "fp16", p50_ms=1.0) for graph in GRAPHS[1:]]
    assert list(gpu_row.frame_row(rows, [])) == []


def test_the_baseline_runs_the_modules_the_graphs_were_traced_from(cases):
    rows = list(gpu.torch_rows(cases, SIZES["tiny"].language, device="cpu"))
    assert [row.graph for row in rows] == list(GRAPHS)
    assert all(row.p50_ms == 1.0 for row in rows)  # each ran; there is no GPU to time it


def test_onnxruntimes_provider_is_compared_and_timed(cases):
    rows = list(onnxruntime_rows(cases[-1:], "CPUExecutionProvider"))
    assert rows[0].cosine > 0.999
    assert rows[0].p50_ms > 0


def test_an_engine_that_does_not_build_is_a_row_that_says_so(cases, monkeypatch):
    def refuse(*_):
        raise EngineError("no kernel for it")

    cuda = CudaDouble()
    monkeypatch.setattr(gpu, "plan_from_onnx", refuse)
    _, row = gpu.tensorrt_rows(tensorrt_double(cuda), cuda, cases[:1])
    assert (row.note, row.p50_ms) == ("no kernel for it", None)


def test_a_bundles_graphs_are_taken_as_they_are(golden_bundle):
    found = bundle_cases(Bundle.open(golden_bundle), 2, ("memory_encoder",))
    assert (found[0].precision, found[0].module) == ("fp32", None)
    assert found[0].calls


def test_what_is_not_here_is_a_row_that_says_so(golden_bundle, monkeypatch, capsys, tmp_path):
    def missing(*_):
        raise EngineError("CUDA: got no driver, expected one")

    monkeypatch.setattr(gpu, "open_cuda", missing)
    target = tmp_path / "record.json"
    assert gpu.main(["--bundle", str(golden_bundle), "--graph", "memory_encoder", "--json", str(target)]) == 0
    rows = json.loads(target.read_text())["rows"]
    assert {row["backend"] for row in rows} == {"torch", "tensorrt", "tensorrt-rtx", "onnxruntime-cuda"}
    assert all(row["note"] and row["p50_ms"] is None for row in rows)
    assert "expected" in capsys.readouterr().out
