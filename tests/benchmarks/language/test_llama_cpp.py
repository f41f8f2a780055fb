"""llama.cpp as the language benchmark asks it, over doubles: the file it reads, its package, its program."""

import struct
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from glus_edge.benchmarks.language.llama_cpp import LlamaBench, LlamaPackage, LlamaProcess
from glus_edge.benchmarks.language.prefill import PrefillCase
from glus_edge.benchmarks.language.random_gguf import write_random_gguf
from glus_edge.export.synthetic.sizes import SIZES
from glus_edge.runtime.errors import EngineError, InputError

pytestmark = pytest.mark.torch  # sizes come from the export

CONFIG = replace(SIZES["nano"].language, layers=2)
PREFILL = PrefillCase(new=6, cached=9, threads=1)


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
        ("print(json.dumps([dict(samples_ns=['fast'])]))", "got no samples_ns"),
    ],
)
def test_a_program_that_is_no_llama_bench_is_said(tmp_path, body, message):
    with pytest.raises(EngineError, match=message):
        LlamaBench(program(tmp_path / "bench", body), "m.gguf", PREFILL).seconds()
    with pytest.raises(EngineError, match="cannot be run"):
        LlamaBench(tmp_path / "none", "m.gguf", PREFILL).seconds()
