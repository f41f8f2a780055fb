"""The language benchmark at a small size, over doubles of what may not be installed: its bookkeeping, not its figures."""

import json
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from glus_edge.benchmarks.language import command as language
from glus_edge.benchmarks.language.case import random_inputs, step_flops, write_random_step
from glus_edge.benchmarks.language.llama_cpp import LlamaPackage
from glus_edge.benchmarks.language.prefill import PrefillCase
from glus_edge.benchmarks.language.products import KINDS, Product
from glus_edge.benchmarks.language.runners import OnnxRuntimeStep
from glus_edge.export.synthetic.sizes import SIZES
from glus_edge.runtime.cli import main
from glus_edge.runtime.errors import EngineError
from glus_edge.runtime.utils.progress import silent

pytestmark = pytest.mark.torch  # the graphs are written first

CONFIG = replace(SIZES["nano"].language, layers=2)
PREFILL = PrefillCase(new=6, cached=9, threads=1)


@pytest.fixture
def nothing_installed(monkeypatch):
    monkeypatch.setattr(language, "LlamaProcess", LlamaPackage)
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(language, "Product", partial(Product, rows=8, side=256))


def test_a_step_runs_alike_with_activations_rounded_or_not(tmp_path):
    path = tmp_path / "language_model.onnx"
    write_random_step(CONFIG, path)
    inputs = random_inputs(CONFIG, PREFILL)
    assert inputs["prefix_key_1"].shape == (9, 4, 64)
    embeddings = []
    for accuracy in (1, 4):
        step = OnnxRuntimeStep(path, inputs, CONFIG.max_positions, 1, accuracy)
        assert step.seconds() > 0
        embeddings.append(step.output("segment_embedding"))
        step.close()
    distance = np.linalg.norm(embeddings[1] - embeddings[0]) / np.linalg.norm(embeddings[0])
    assert 0 < distance < 0.1
    matrices = 2 * 6 * (256 * (4 * 256 + 3 * 704)) * 2
    assert 0.5 * matrices < step_flops(path, PREFILL) < 1.2 * matrices


@pytest.mark.parametrize("kind", KINDS)
def test_every_product_runs_and_counts_its_work(kind):
    product = Product(kind, 1, rows=4, side=128)
    assert product.flops == 2 * 4 * 128 * 128
    assert product.seconds() > 0
    product.close()


def test_what_is_not_installed_is_a_line_and_the_rest_is_measured(nothing_installed, capsys, tmp_path):
    record = tmp_path / "record.json"
    arguments = ["--size", "nano", "--layers", "1", "--new", "4", "--cached", "8", "--rounds", "2", "--threads", "1"]
    assert main(["bench", "language", *arguments, "--output", str(record)]) == 0
    out = capsys.readouterr().out
    assert "nano with random weights, the first 1 of its 4 layers only: 4 new rows on 8 cached" in out
    assert "llama.cpp, Q4_0: not installed" in out
    assert "openvino, bf16: openvino: cannot be imported" in out
    report = json.loads(record.read_text())
    assert set(report["products"]) == set(KINDS)
    rounded, whole, *missing = report["rows"]
    for row in (rounded, whole):
        assert len(row["seconds"]) == 2
        assert set(row["shares"]) == set(KINDS)
        assert row["against_llama_cpp"] is None
    assert all(row["note"] and not row["seconds"] for row in missing)


class Fixed:
    flops = 100

    def __init__(self, name, seconds, calls):
        self.name, self.calls, self._seconds = name, calls, seconds

    def seconds(self):
        self.calls.append(self.name)
        return self._seconds

    def close(self):
        self.calls.append(f"{self.name} closed")


def test_runners_take_turns_whose_order_changes_and_are_closed():
    calls = []

    def refuse():
        raise EngineError("not here")

    openers = {"ours": lambda: Fixed("ours", 0.2, calls), "theirs": lambda: Fixed("theirs", 0.4, calls), "none": refuse}
    products = {"int8": Fixed("int8", 0.1, calls)}
    seconds, missing = language.in_turns(openers, products, 2, silent)
    assert seconds == {"int8": [0.1, 0.1], "ours": [0.2, 0.2], "theirs": [0.4, 0.4]}
    assert missing == {"none": "not here"}
    warm_up, rounds = calls[:2], calls[2:8]
    assert warm_up == ["ours", "theirs"]
    assert rounds[:3] == rounds[3:][::-1]
    assert set(calls[8:]) == {"ours closed", "theirs closed"}


def test_shares_and_the_ratio_are_of_the_same_round():
    row = language.figures("ours", [0.2, 0.4], 1000, {"int8": [1e-4, 1e-4]}, [0.3, 0.3])
    assert row.flops_per_second == pytest.approx(1000 / 0.3)
    assert row.shares["int8"].maximum == pytest.approx(0.5)
    assert row.shares["int8"].minimum == pytest.approx(0.25)
    assert (row.against_llama_cpp.minimum, row.against_llama_cpp.maximum) == pytest.approx((0.75, 1.5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "huge"], "--size: got 'huge', expected one of tiny, nano"),
        (["--layers", "33"], "--layers: got 33, expected 1 to 32, which glus-7b has"),
        (["--new", "0"], "--new: got 0, expected at least 1"),
        (["--rounds", "0"], "--rounds: got 0"),
        (["--folder", "nowhere"], "--folder nowhere: no such folder"),
        (["--output", "nowhere/r.json"], "nowhere/r.json: cannot be written"),
    ],
)
def test_what_cannot_be_measured_is_said_at_once(arguments, message, capsys):
    assert main(["bench", "language", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_disk_without_room_for_the_models_is_said(monkeypatch, capsys, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(language, "write_random_step", full)
    assert main(["bench", "language", "--size", "nano", "--folder", str(tmp_path)]) == 2
    assert "(No space left on device), expected room for both models" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
