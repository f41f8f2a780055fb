"""A language model's graph run by ONNX Runtime or OpenVINO with the settings a bundle is run with, on inputs bound once."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from glus_edge.runtime.backends.onnxruntime_session import OnnxRuntimeOptions, language_model_source, session_settings
from glus_edge.runtime.backends.openvino_engine import OpenVinoOptions, compiled_model, load_openvino

Inputs = Mapping[str, NDArray[Any]]


class OnnxRuntimeStep:
    """Implements Runner. accuracy 4 rounds activations to 8 bits, 1 computes in float32; see OnnxRuntimeOptions."""

    def __init__(self, path: Path, inputs: Inputs, max_positions: int, threads: int, accuracy: int) -> None:
        settings = session_settings(OnnxRuntimeOptions(threads=threads), accuracy)
        source = language_model_source(path, max_positions, settings)
        self._session = onnxruntime.InferenceSession(source, settings, ["CPUExecutionProvider"])
        self._binding = self._session.io_binding()
        for name, values in inputs.items():
            self._binding.bind_cpu_input(name, values)
        for output in self._session.get_outputs():
            self._binding.bind_output(output.name, "cpu")

    def seconds(self) -> float:
        """See Runner."""
        start = time.perf_counter()
        self._session.run_with_iobinding(self._binding)
        return time.perf_counter() - start

    def output(self, name: str) -> NDArray[Any]:
        """What the last call computed."""
        names = [output.name for output in self._session.get_outputs()]
        return np.asarray(self._binding.get_outputs()[names.index(name)].numpy())

    def close(self) -> None:
        """See Runner."""
        del self._binding, self._session


class OpenVinoStep:
    """Implements Runner, with products in bfloat16."""

    def __init__(self, path: Path, inputs: Inputs, threads: int) -> None:
        """EngineError: OpenVINO is not installed, or this processor multiplies no bfloat16."""
        library = load_openvino()
        self._request = compiled_model(library, path, OpenVinoOptions(threads=threads)).create_infer_request()
        for name, values in inputs.items():
            self._request.set_tensor(name, library.Tensor(values, shared_memory=True))

    def seconds(self) -> float:
        """See Runner."""
        start = time.perf_counter()
        self._request.infer()
        return time.perf_counter() - start

    def close(self) -> None:
        """See Runner."""
        del self._request
