"""A TEST DOUBLE of ONNX Runtime's CUDA provider: a session that records what it is given and computes on the CPU.

It refuses host memory, memory that was not allocated, and a captured run whose tensors moved. It computes only when the
stream that it was told to use runs. No figure comes from it.
"""

from types import SimpleNamespace

import numpy as np
import onnxruntime

from glus_edge.runtime.backends import onnxruntime_cuda
from glus_edge.runtime.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend, OnnxRuntimeCudaOptions
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.open_backend import cuda_pixels
from glus_edge.runtime.segmenter import Segmenter
from tests.runtime.cuda_double import CudaDouble

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int32)": "int32", "tensor(uint8)": "uint8"}
_ENTRIES = ("session.use_device_allocator_for_initializers", "ep.cuda.fpa_intb_gemm")


class OnnxRuntimeDouble:
    """Stands in for the library where the CUDA provider is asked for."""

    def __init__(self, monkeypatch, cuda):
        self.cuda, self.sessions, self.preloads = cuda, [], 0
        self.placed_elsewhere = ()  # types of operator that the provider leaves to the CPU
        self.error = None  # raised by the next run
        make = onnxruntime.InferenceSession

        def session(source, settings=None, providers=(), **rest):
            if not providers or providers[0][0] != CUDA:
                return make(source, settings, providers=list(providers), **rest)
            made = SessionDouble(self, make(source, settings, providers=[CPU]), settings, providers[0][1])
            self.sessions.append(made)
            return made

        def preload():
            self.preloads += 1

        monkeypatch.setattr(onnxruntime, "InferenceSession", session)
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
        monkeypatch.setattr(onnxruntime, "preload_dlls", preload)
        onnxruntime_cuda.load_cuda_libraries.cache_clear()


class SessionDouble:
    def __init__(self, library, session, settings, options):
        self.library, self.session, self.provider_options = library, session, options
        self.settings = {}
        for entry in _ENTRIES:
            try:
                self.settings[entry] = settings.get_session_config_entry(entry)
            except RuntimeError:  # not set
                continue
        self.stream = int(options["user_compute_stream"])
        self.captured = {}  # graph id -> bindings
        self.bound = self.captures = self.replays = self.runs = 0

    def get_providers(self):
        return [CUDA, CPU]

    def get_provider_graph_assignment_info(self):
        for part in self.session.get_provider_graph_assignment_info():
            for node in part.get_nodes():
                name = CPU if node.op_type in self.library.placed_elsewhere else CUDA
                yield SimpleNamespace(ep_name=name, get_nodes=lambda node=node: [node])

    def get_inputs(self):
        return self.session.get_inputs()

    def get_outputs(self):
        return self.session.get_outputs()

    def io_binding(self):
        return BindingDouble(self)

    def run_with_iobinding(self, binding, options):
        cuda = self.library.cuda
        if self.library.error is not None:
            raise self.library.error
        assert options.get_run_config_entry("disable_synchronize_execution_providers") == "1", "the host would wait"
        number = int(options.get_run_config_entry("gpu_graph_id"))
        tensors = {**binding.inputs, **binding.outputs}
        assert set(binding.inputs) == {tensor.name for tensor in self.get_inputs()}, "inputs are missing"
        for dtype, shape, address in tensors.values():
            cuda.check(address, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        if number >= 0:
            assert self.provider_options["enable_cuda_graph"] == "1"
            assert number, "0 is the graph of runs without a number"
            if number in self.captured:
                assert self.captured[number] == tensors, "a captured graph replays the tensors it was captured with"
                self.replays += 1
            else:
                self.captured[number], self.captures = tensors, self.captures + 1
        self.runs += 1
        inputs, outputs = dict(binding.inputs), dict(binding.outputs)
        cuda.enqueue("execute", self.stream, lambda: self._compute(inputs, outputs))

    def _compute(self, inputs, outputs):
        native = self.session.io_binding()
        for name, (dtype, shape, address) in inputs.items():
            native.bind_input(name, "cpu", 0, dtype, shape, address)
        for name, (dtype, shape, address) in outputs.items():
            native.bind_output(name, "cpu", 0, dtype, shape, address)
        self.session.run_with_iobinding(native)


class BindingDouble:
    def __init__(self, session):
        self.session, self.inputs, self.outputs = session, {}, {}

    def bind_input(self, name, device_type, device_id, element_type, shape, buffer_ptr):
        self._bind(self.inputs, name, device_type, device_id, element_type, shape, buffer_ptr)

    def bind_output(self, name, device_type, device_id, element_type, shape, buffer_ptr):
        self._bind(self.outputs, name, device_type, device_id, element_type, shape, buffer_ptr)

    def _bind(self, tensors, name, device_type, device_id, element_type, shape, buffer_ptr):
        assert (device_type, device_id) == ("cuda", 0), f"{name}: bound on {device_type}"
        assert buffer_ptr, f"{name}: a null address"
        tensors[name] = (element_type, tuple(shape), buffer_ptr)
        self.session.bound += 1


class Opened:
    """A segmenter over the doubles, and the doubles."""

    def __init__(self, monkeypatch, folder, **options):
        self.cuda = CudaDouble()
        self.library = OnnxRuntimeDouble(monkeypatch, self.cuda)
        bundle, chosen = Bundle.open(folder), OnnxRuntimeCudaOptions(**options)
        self.backend = OnnxRuntimeCudaBackend(bundle, self.cuda, chosen)
        pixels = cuda_pixels(bundle, self.backend) if chosen.device_pixels else None
        self.segmenter = Segmenter(bundle, self.backend, pixels)
        self.sessions = dict(
            zip(
                (*(["clip_preprocess", "sam_preprocess"] if pixels else []), "clip_encoder", "language_model", *SAM),
                self.library.sessions,
                strict=True,
            )
        )


SAM = ("image_encoder", "memory_attention", "mask_decoder", "memory_encoder")
