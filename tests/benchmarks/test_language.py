"""The language benchmark at a small size, over doubles of what may not be installed: its bookkeeping, not its figures."""

import json
import struct
import sys
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from glus_edge.benchmarks import language
from glus_edge.benchmarks.gguf import write_random_gguf
from glus_edge.benchmarks.language_case import random_inputs, step_flops, write_random_step
from glus_edge.benchmarks.language_runners import OnnxRuntimeStep
from glus_edge.benchmarks.llama_cpp import LlamaBench, LlamaPackage, LlamaProcess
from glus_edge.benchmarks.prefill import Prefill
from glus_edge.benchmarks.products import KINDS, Product
from glus_edge.export.synthetic_sizes import SIZES
from glus_edge.runtime.errors import EngineError, InputError
from glus_edge.runtime.progress import silent

pytestmark = pytest.mark.torch  # the graphs are written first

CONFIG = replace(SIZES["nano"].language, layers=2)
PREFILL = Prefill(new=6, cached=9, threads=1)


@pytest.fixture
def nothing_installed(monkeypatch):
    monkeypatch.setattr(language, "LlamaProcess", LlamaPackage)
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(language, "Product", partial(Product, rows=8, side=256))


def read_gguf(path):
    """Values, tensors (dimensions, type, offset in the file) of a GGUF file, read by the format's own description."""
    content, place = path.read_bytes(), 0

    def take(form):
        nonlocal place
        values = struct.unpack_from(f"<{form}", content, place)
        place += struct.calcsize(f"<{form}")
        return values if len(values) > 1 else values[0]

    def text():
        return take(f"{take('Q')}s").decode()

    assert take("4sI") == (b"GGUF", 3)
    tensors, values = take("QQ")
    found = {text(): {4: lambda: take("I"), 6: lambda: take("f"), 8: text}[take("I")]() for _ in range(values)}
    heads = {text(): (np.atleast_1d(take(f"{take('I')}Q")).tolist(), *take("IQ")) for _ in range(tensors)}
    start = place + -place % 32
    return found, {name: (shape, kind, start + offset) for name, (shape, kind, offset) in heads.items()}, content


def test_a_gguf_file_holds_a_llama_of_these_sizes(tmp_path):
    write_random_gguf(CONFIG, tmp_path / "model.gguf")
    values, tensors, content = read_gguf(tmp_path / "model.gguf")
    assert values["general.architecture"] == "llama"
    assert values["llama.block_count"] == 2
    assert values["llama.vocab_size"] == 2003
    assert len(tensors) == 3 + 9 * 2
    assert tensors["blk.1.ffn_down.weight"][:2] == ([704, 256], 2)
    shape, kind, offset = tensors["blk.1.ffn_norm.weight"]
    assert (shape, kind, offset % 32) == ([256], 0, 0)
    assert (np.frombuffer(content, "<f4", 256, offset) == 1).all()
    (inputs, outputs), _, offset = tensors["blk.0.ffn_up.weight"]
    blocks = np.frombuffer(content, [("scale", "<f2"), ("pairs", "u1", 16)], inputs * outputs // 32, offset)
    weights = np.concatenate([blocks["pairs"] & 15, blocks["pairs"] >> 4]).astype(int) - 8
    assert np.std(weights) * float(blocks["scale"][0]) * np.sqrt(inputs) == pytest.approx(1, rel=0.02)
    last = max(offset + np.prod(shape) // 32 * 18 for shape, kind, offset in tensors.values() if kind == 2)
    assert len(content) == last + -last % 32


def test_a_size_that_q4_0_cannot_hold_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"blk\.0\.ffn_down\.weight: got 176 input channels, expected a multiple of 32"
    ):
        write_random_gguf(SIZES["tiny"].language, tmp_path / "model.gguf")


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
    assert language.main([*arguments, "--json", str(record)]) == 0
    out = capsys.readouterr().out
    assert "nano with random weights, the first 1 of its 4 layers only: 4 new rows on 8 cached" in out
    assert "llama.cpp, Q4_0: not installed" in out
    assert "openvino, bf16: openvino: cannot be imported" in out
    report = json.loads(record.read_text())["report"]
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


class LlamaDouble(SimpleNamespace):
    """The functions of llama_cpp that are called, and how many rows of the context are taken."""

    def __init__(self, **changes):
        self.rows, self.decoded, self.freed = 0, [], []
        for name in ("llama_backend_init", "llama_synchronize", "llama_model_get_vocab"):
            setattr(self, name, lambda *_: None)
        for name in ("llama_model_default_params", "llama_context_default_params"):
            setattr(self, name, SimpleNamespace)
        super().__init__(**changes)

    def llama_model_load_from_file(self, path, settings):
        assert settings.n_gpu_layers == 0
        return path

    def llama_init_from_model(self, model, settings):
        self.context = settings
        return "context"

    def llama_vocab_n_tokens(self, vocabulary):
        return 50

    def llama_get_memory(self, context):
        return "memory"

    def llama_memory_seq_rm(self, memory, sequence, first, last):
        assert (memory, sequence, last) == ("memory", 0, -1)
        self.rows = min(self.rows, first)

    def llama_batch_get_one(self, tokens, count):
        assert all(0 <= token < 50 for token in tokens)
        return [*tokens][:count]

    def llama_decode(self, context, batch):
        self.rows += len(batch)
        assert self.rows <= self.context.n_ctx
        self.decoded.append(len(batch))
        return 0

    def llama_free(self, context):
        self.freed.append(context)

    def llama_model_free(self, model):
        self.freed.append("model")


def test_llama_cpp_prefills_the_same_rows_again_and_again_behind_the_cached_ones(monkeypatch, tmp_path):
    double = LlamaDouble()
    monkeypatch.setitem(sys.modules, "llama_cpp", double)
    runner = LlamaPackage(tmp_path / "model.gguf", PREFILL)
    assert (double.context.n_ctx, double.context.n_threads, double.context.n_threads_batch) == (15, 1, 1)
    assert runner.seconds() > 0
    assert runner.seconds() > 0
    assert double.decoded == [9, 6, 6]
    runner.close()
    assert double.freed == ["context", "model"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"llama_model_load_from_file": lambda *_: None}, "cannot load it"),
        ({"llama_init_from_model": lambda *_: None}, "no context of 15 rows"),
        ({"llama_decode": lambda *_: 2}, "decoding 9 rows failed with 2"),
    ],
)
def test_what_llama_cpp_cannot_do_is_said(monkeypatch, tmp_path, changes, message):
    monkeypatch.setitem(sys.modules, "llama_cpp", LlamaDouble(**changes))
    with pytest.raises(EngineError, match=message):
        LlamaPackage(tmp_path / "model.gguf", PREFILL)


DOUBLE = """
import os, types
llama_backend_init = llama_synchronize = llama_model_get_vocab = llama_memory_seq_rm = lambda *_: None
llama_model_default_params = llama_context_default_params = types.SimpleNamespace
llama_model_load_from_file = llama_init_from_model = llama_get_memory = lambda *_: "it"
llama_vocab_n_tokens = lambda _: 50
llama_batch_get_one = lambda tokens, count: count
llama_decode = lambda _, count: os._exit(4) if count == 7 else 0
"""


def test_llama_cpp_runs_in_a_process_of_its_own_which_may_end(monkeypatch, tmp_path):
    (tmp_path / "llama_cpp.py").write_text(DOUBLE)
    monkeypatch.syspath_prepend(str(tmp_path))
    runner = LlamaProcess(tmp_path / "model.gguf", PREFILL)
    assert runner.seconds() > 0
    runner.close()
    runner = LlamaProcess(tmp_path / "model.gguf", replace(PREFILL, new=7))
    with pytest.raises(EngineError, match="its process ended"):
        runner.seconds()
    runner.close()
    assert "llama_cpp" not in sys.modules
    (tmp_path / "llama_cpp.py").write_text("raise OSError('no libllama')")
    with pytest.raises(EngineError, match="not installed: no libllama"):
        LlamaProcess(tmp_path / "model.gguf", PREFILL)


def program(path, body):
    path.write_text(f"#!{sys.executable}\nimport json, sys\n{body}\n")
    path.chmod(0o755)
    return path


def test_a_llama_bench_is_asked_for_one_prefill_at_the_depth(tmp_path):
    asked = (
        "assert sys.argv[1:] == ['-m', 'm.gguf', '-p', '6', '-n', '0', '-d', '9', '-t', '1', '-r', '1', '-o', 'json']"
    )
    bench = program(tmp_path / "llama-bench", f"{asked}; print(json.dumps([dict(samples_ns=[2500000])]))")
    runner = LlamaBench(bench, "m.gguf", PREFILL)
    assert runner.seconds() == 0.0025
    runner.close()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.exit('no such model')", r"exit status 1 \(no such model\)"),
        ("print('[]')", "got no samples_ns"),
        ("print('fast')", "got no samples_ns"),
    ],
)
def test_a_program_that_is_no_llama_bench_is_said(tmp_path, body, message):
    with pytest.raises(EngineError, match=message):
        LlamaBench(program(tmp_path / "bench", body), "m.gguf", PREFILL).seconds()
    with pytest.raises(EngineError, match="cannot be run"):
        LlamaBench(tmp_path / "none", "m.gguf", PREFILL).seconds()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "huge"], "--size: got 'huge', expected one of tiny, nano"),
        (["--layers", "33"], "--layers: got 33, expected 1 to 32, which glus-7b has"),
        (["--new", "0"], "--new: got 0, expected at least 1"),
        (["--rounds", "0"], "--rounds: got 0"),
    ],
)
def test_what_cannot_be_measured_is_said_at_once(arguments, message, capsys):
    assert language.main(arguments) == 2
    assert message in capsys.readouterr().err
