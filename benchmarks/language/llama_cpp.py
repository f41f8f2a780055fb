"""llama.cpp on a GGUF file: the package llama-cpp-python in a process of its own, or llama.cpp's program llama-bench.

Rows whose logits are not asked for skip the head in both, as in our graph.
"""

import ctypes
import importlib
import json
import logging
import multiprocessing
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from glus_edge.benchmarks.language.prefill import PrefillCase
from glus_edge.runtime.errors import EngineError

_INSTALL = "pip install llama-cpp-python, which compiles it, or give a llama-bench with --llama-bench"


class LlamaProcess:
    """Implements Runner: a LlamaPackage in another process.

    llama.cpp sets the tiles of AMX up once a thread and expects them to stay. Other libraries let go of them: in one process
    with OpenVINO its next product was an illegal instruction.
    """

    def __init__(self, model: Path, prefill: PrefillCase) -> None:
        """See LlamaPackage."""
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        try:
            self._call(_open, model, prefill)
        except EngineError:
            self.close()
            raise

    def seconds(self) -> float:
        """See Runner. EngineError: the process ended."""
        return self._call(_seconds)

    def close(self) -> None:
        """See Runner."""
        self._pool.shutdown()

    def _call(self, function: Callable[..., float], *arguments: object) -> float:
        try:
            return self._pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise EngineError("llama.cpp: its process ended; build a newer llama-cpp-python") from error


_opened: list["LlamaPackage"] = []  # of the other process


def _open(model: Path, prefill: PrefillCase) -> float:
    _opened.append(LlamaPackage(model, prefill))
    return 0.0


def _seconds() -> float:
    return _opened[0].seconds()


class LlamaPackage:
    """Implements Runner. The cached rows are computed once; those of a call are forgotten again before the next."""

    def __init__(self, model: Path, prefill: PrefillCase) -> None:
        """EngineError: the package is not installed, or cannot load the model."""
        self._library = library = load_llama_cpp()
        self._prefill = prefill
        library.llama_backend_init()
        settings = library.llama_model_default_params()
        settings.n_gpu_layers = 0
        self._model = library.llama_model_load_from_file(str(model).encode(), settings)
        if not self._model:
            raise EngineError(f"{model}: llama.cpp cannot load it; build a newer llama-cpp-python")
        context = library.llama_context_default_params()
        rows = prefill.new + prefill.cached
        context.n_ctx = context.n_batch = context.n_ubatch = rows
        context.n_threads = context.n_threads_batch = prefill.threads
        self._context = library.llama_init_from_model(self._model, context)
        if not self._context:
            library.llama_model_free(self._model)
            raise EngineError(f"{model}: llama.cpp gives no context of {rows} rows; ask for fewer")
        vocabulary = library.llama_vocab_n_tokens(library.llama_model_get_vocab(self._model))
        self._tokens = (ctypes.c_int32 * rows)(*(row * 7919 % vocabulary for row in range(rows)))
        self._decode(0, prefill.cached)

    def seconds(self) -> float:
        """See Runner."""
        library = self._library
        memory = library.llama_get_memory(self._context)
        library.llama_memory_seq_rm(memory, 0, self._prefill.cached, -1)
        start = time.perf_counter()
        self._decode(self._prefill.cached, self._prefill.new)
        library.llama_synchronize(self._context)
        return time.perf_counter() - start

    def close(self) -> None:
        """See Runner."""
        self._library.llama_free(self._context)
        self._library.llama_model_free(self._model)

    def _decode(self, first: int, count: int) -> None:
        if not count:
            return
        tokens = (ctypes.c_int32 * count)(*self._tokens[first : first + count])
        status = self._library.llama_decode(self._context, self._library.llama_batch_get_one(tokens, count))
        if status:
            raise EngineError(f"llama.cpp: decoding {count} rows failed with {status}; build a newer llama-cpp-python")


class LlamaBench:
    """Implements Runner over a program that loads the model anew for every call, warms up, and times one prefill."""

    def __init__(self, program: Path, model: Path, prefill: PrefillCase) -> None:
        self._command = [str(program), "-m", str(model), "-p", str(prefill.new), "-n", "0", "-d", str(prefill.cached)]
        self._command += ["-t", str(prefill.threads), "-r", "1", "-o", "json"]

    def seconds(self) -> float:
        """See Runner. EngineError: the program cannot be run, or says something else than expected."""
        program = self._command[0]
        try:
            done = subprocess.run(self._command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise EngineError(
                f"{program}: cannot be run ({error.strerror}), expected llama.cpp's llama-bench"
            ) from error
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["nothing"])[-1][:200]
            raise EngineError(f"{program}: exit status {done.returncode} ({said}), expected llama.cpp's llama-bench")
        try:
            return float(json.loads(done.stdout)[0]["samples_ns"][0]) / 1e9
        except (ValueError, LookupError, TypeError) as error:
            raise EngineError(
                f"{program}: got no samples_ns in its JSON, expected those of llama-bench; build a newer llama.cpp"
            ) from error

    def close(self) -> None:
        """Nothing is held between calls."""


def load_llama_cpp() -> Any:
    """The package, its log silenced. EngineError: it is not installed."""
    logging.getLogger("llama-cpp-python").setLevel(logging.ERROR)  # it tells of every tensor otherwise
    try:
        return importlib.import_module("llama_cpp")
    except (ImportError, OSError, RuntimeError) as error:
        cause = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise EngineError(f"not installed: {cause}; {_INSTALL}") from error
