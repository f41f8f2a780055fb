"""The GPU benchmark over test doubles: its bookkeeping, not its figures."""

import json

import pytest

from glus_edge.benchmarks import gpu
from glus_edge.runtime.bundle import Bundle
from glus_edge.runtime.errors import EngineError
from glus_edge.runtime.gate_clip import SENTENCE, GateClip
from glus_edge.runtime.reference_run import record
from glus_edge.runtime.signatures import GRAPHS
from tests.runtime.cuda_double import CudaDouble
from tests.runtime.tensorrt_double import tensorrt_double

pytestmark = pytest.mark.torch  # the bundle is exported first


def test_every_graph_gets_a_row_with_parity_and_times(golden_bundle):
    bundle, cuda = Bundle.open(golden_bundle), CudaDouble()
    calls = record(bundle, GateClip(2), [SENTENCE], calls_per_graph=2).calls
    rows = list(gpu.tensorrt_rows(bundle, tensorrt_double(cuda), cuda, calls, GRAPHS))
    assert [row.graph for row in rows] == list(GRAPHS)
    assert all(row.p50_ms is not None and row.cosine > 0.9999 and not row.note for row in rows)
    # graphs whose shapes recur are timed as they run: replayed
    assert cuda.calls("launch") >= 5 * gpu.MEASURED


def test_what_is_not_here_is_a_row_that_says_so(golden_bundle, monkeypatch, capsys, tmp_path):
    def missing(*_):
        raise EngineError("CUDA: got no driver, expected one")

    monkeypatch.setattr(gpu, "open_cuda", missing)
    target = tmp_path / "record.json"
    assert gpu.main(["--bundle", str(golden_bundle), "--json", str(target)]) == 0
    rows = json.loads(target.read_text())["rows"]
    assert {row["backend"] for row in rows} == {"tensorrt", "tensorrt-rtx", "onnxruntime-cuda"}
    assert all(row["note"] and row["p50_ms"] is None for row in rows)
    assert "expected" in capsys.readouterr().out
