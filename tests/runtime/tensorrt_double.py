"""A TEST DOUBLE of the `tensorrt` module: a plan names its ONNX file, and a context computes it with ONNX Runtime.

It refuses what TensorRT refuses (a wrong flag, an address that is not aligned, a shape outside the profile, a capture of
shapes that were never run) and computes only when its stream runs. No figure comes from it.
"""

import base64
import ctypes
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from glus_edge.runtime.device.device import ALIGNMENT
from glus_edge.runtime.tensorrt.library import tensorrt_from_module

DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int32)": "int32", "tensor(uint8)": "uint8"}


def tensorrt_double(cuda, library="tensorrt", version="0.0.double", distort=None):
    """A TensorRt whose engines run on a CudaDouble. `distort(path of the graph's file, outputs, graph)` may spoil results."""
    return tensorrt_from_module(library, Api(cuda, version, distort))


class Api:
    """What the runtime uses of the module."""

    float32, float16, int32, uint8 = "float32", "float16", "int32", "uint8"
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    BuilderFlag = SimpleNamespace(TF32="TF32")
    MemoryPoolType = SimpleNamespace(WORKSPACE="WORKSPACE")
    ExecutionContextAllocationStrategy = SimpleNamespace(STATIC="STATIC", USER_MANAGED="USER_MANAGED")
    DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="EAGER")
    TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")

    class ILogger:
        Severity = SimpleNamespace(ERROR=1, INTERNAL_ERROR=0, WARNING=2)

        def __init__(self):
            pass

    class IProgressMonitor:
        def __init__(self):
            pass

    def __init__(self, cuda, version, distort):
        self.cuda, self.__version__, self.distort = cuda, version, distort
        self.contexts = []

    def Builder(self, logger):  # noqa: N802 - the library's name
        return Builder(self, logger)

    def OnnxParser(self, network, logger):  # noqa: N802
        return Parser(network, logger)

    def Runtime(self, logger):  # noqa: N802
        return Runtime(self, logger)


class Builder:
    def __init__(self, api, logger):
        self.api, self.logger = api, logger

    def create_network(self, flags):
        assert flags == 1 << Api.NetworkDefinitionCreationFlag.STRONGLY_TYPED, "networks are strongly typed"
        return Network()

    def create_builder_config(self):
        return Config()

    def create_optimization_profile(self):
        return Profile()

    def build_serialized_network(self, network, config):
        assert Api.BuilderFlag.TF32 in config.cleared, "float32 must mean float32"
        monitor = config.progress_monitor
        if monitor is not None:
            monitor.phase_start("Building", None, 2)
            steps = [monitor.step_complete("Building", step) for step in range(2)]
            monitor.phase_finish("Building")
            if not all(steps):
                self.logger.log(Api.ILogger.Severity.ERROR, "cancelled")
                return None
        for profile in config.profiles:
            assert set(profile.shapes) == {tensor.name for tensor in network.inputs}
        # like a real plan, it outlives the graph's file (external weights apart)
        graph = base64.b64encode(Path(network.path).read_bytes()).decode()
        profiles = [profile.shapes for profile in config.profiles]
        return json.dumps({"path": network.path, "graph": graph, "profiles": profiles}).encode()


class Network:
    def __init__(self):
        self.path, self.inputs, self.outputs, self.num_layers = None, [], [], 1

    num_inputs = property(lambda self: len(self.inputs))
    num_outputs = property(lambda self: len(self.outputs))

    def get_input(self, index):
        return self.inputs[index]

    def get_output(self, index):
        return self.outputs[index]


class Config:
    def __init__(self):
        self.cleared, self.profiles, self.progress_monitor, self.builder_optimization_level = set(), [], None, None
        self.cache = None

    def clear_flag(self, flag):
        self.cleared.add(flag)

    def set_memory_pool_limit(self, pool, size):
        assert pool == "WORKSPACE"
        assert size > 0

    def add_optimization_profile(self, profile):
        self.profiles.append(profile)

    def create_timing_cache(self, stored):
        return SimpleNamespace(serialize=lambda: b"timings", stored=stored)

    def set_timing_cache(self, cache, ignore_mismatch):
        assert not ignore_mismatch
        self.cache = cache
        return cache.stored in (b"", b"timings")

    def get_timing_cache(self):
        return self.cache


class Profile:
    def __init__(self):
        self.shapes = {}

    def set_shape(self, name, minimum, optimum, maximum):
        assert all(a <= b <= c for a, b, c in zip(minimum, optimum, maximum, strict=True)), name
        self.shapes[name] = [minimum, optimum, maximum]


class Parser:
    def __init__(self, network, logger):
        self.network, self.logger, self.errors = network, logger, []

    num_errors = property(lambda self: len(self.errors))

    def parse_from_file(self, path):
        try:
            session = _session(Path(path).read_bytes(), str(Path(path).parent))
        except (
            ort_errors.Fail,
            ort_errors.InvalidGraph,
            ort_errors.InvalidProtobuf,
            ort_errors.NotImplemented,
        ) as error:
            message = str(error)
            self.errors.append(
                SimpleNamespace(node_name=lambda: "node", node_operator=lambda: "Op", desc=lambda: message)
            )
            return False
        tensors = [[SimpleNamespace(name=t.name, dtype=DTYPES[t.type]) for t in group()] for group in _io(session)]
        self.network.path, (self.network.inputs, self.network.outputs) = path, tensors
        return True

    def get_error(self, index):
        return self.errors[index]


class Runtime:
    def __init__(self, api, logger):
        self.api, self.logger = api, logger

    def deserialize_cuda_engine(self, plan):
        try:
            return EngineDouble(self.api, json.loads(bytes(plan)))
        except ValueError:
            self.logger.log(Api.ILogger.Severity.ERROR, "the plan's magic tag does not match")
            return None


class EngineDouble:
    def __init__(self, api, plan):
        self.api, self.path, self.profiles = api, plan["path"], plan["profiles"]
        self.graph = base64.b64decode(plan["graph"])
        self.session = _session(self.graph, str(Path(self.path).parent))
        self.inputs, self.outputs = (list(group()) for group in _io(self.session))
        self._tensors = {tensor.name: tensor for tensor in (*self.inputs, *self.outputs)}
        self.num_io_tensors = len(self._tensors)

    def get_tensor_name(self, index):
        return list(self._tensors)[index]

    def get_tensor_mode(self, name):
        return "in" if name in {tensor.name for tensor in self.inputs} else "out"

    def get_tensor_dtype(self, name):
        return DTYPES[self._tensors[name].type]

    device_memory_size_v2 = property(lambda self: 4096 * self.num_io_tensors)

    def create_runtime_config(self):
        return RuntimeConfig()

    def create_execution_context(self, how):
        strategy = how.strategy if isinstance(how, RuntimeConfig) else how
        assert strategy == Api.ExecutionContextAllocationStrategy.USER_MANAGED, "only such contexts can be captured"
        context = ContextDouble(self, how.cache if isinstance(how, RuntimeConfig) else None)
        self.api.contexts.append(context)
        return context


class RuntimeConfig:
    """TensorRT for RTX only."""

    def __init__(self):
        self.strategy = self.cache = self.dynamic_shapes_kernel_specialization_strategy = None

    def set_execution_context_allocation_strategy(self, strategy):
        self.strategy = strategy

    def create_runtime_cache(self):
        return KernelCache()

    def set_runtime_cache(self, cache):
        self.cache = cache


class KernelCache:
    def __init__(self):
        self.kernels = b""

    def deserialize(self, blob):
        if blob.startswith(b"kernels of this GPU"):
            self.kernels = blob
            return True
        return False

    def serialize(self):
        return self.kernels


class ContextDouble:
    def __init__(self, engine, kernels=None):
        self.engine, self.cuda, self.kernels = engine, engine.api.cuda, kernels
        self.scratch, self.compiled, self.calls = None, 0, 0
        self.shapes, self.addresses, self.settled, self.runs = {}, {}, False, 0

    def set_input_shape(self, name, shape):
        self.calls += 1
        minimum, _, maximum = self.engine.profiles[0][name]
        if not all(low <= size <= high for low, size, high in zip(minimum, shape, maximum, strict=True)):
            return False
        self.settled = self.settled and self.shapes.get(name) == shape
        self.shapes[name] = shape
        return True

    def set_tensor_address(self, name, address):
        self.calls += 1
        assert address, f"{name}: a null address"
        assert address % ALIGNMENT == 0, f"{name}: not aligned"
        self.addresses[name] = address
        return True

    def set_device_memory(self, address, size):
        self.calls += 1
        assert address % ALIGNMENT == 0
        assert size >= self.engine.device_memory_size_v2
        self.scratch = (address, self.engine.device_memory_size_v2)

    def execute_async_v3(self, stream):
        self.calls += 1
        assert stream, "never the default stream"
        engine = self.engine
        assert set(self.shapes) == {tensor.name for tensor in engine.inputs}, "shapes are missing"
        assert set(self.addresses) == set(engine._tensors), "addresses are missing"
        capturing = self.cuda.streams[stream].captured is not None
        assert self.settled or not capturing, "captured before these shapes were run once"
        shapes, addresses = dict(self.shapes), dict(self.addresses)
        scratch = self.scratch
        if self.kernels is not None and not self.kernels.kernels:
            self.kernels.kernels, self.compiled = b"kernels of this GPU", self.compiled + 1
        for tensor in engine.inputs:
            size = int(np.prod(shapes[tensor.name])) * np.dtype(DTYPES[tensor.type]).itemsize
            self.cuda.check(addresses[tensor.name], size)
        self.settled, self.runs = True, self.runs + (not capturing)
        self.cuda.enqueue("execute", stream, lambda: self._compute(shapes, addresses, scratch))
        return True

    def _compute(self, shapes, addresses, scratch):
        self.cuda.check(*scratch)
        ctypes.memset(scratch[0], 0xFF, scratch[1])  # whatever lay there is gone
        engine, sizes = self.engine, {}
        binding = engine.session.io_binding()
        for tensor in engine.inputs:
            sizes |= {
                axis: n for axis, n in zip(tensor.shape, shapes[tensor.name], strict=True) if isinstance(axis, str)
            }
            dtype = np.dtype(DTYPES[tensor.type])
            binding.bind_input(tensor.name, "cpu", 0, dtype, shapes[tensor.name], addresses[tensor.name])
        views = {}
        for tensor in engine.outputs:
            shape = [sizes[axis] if isinstance(axis, str) else axis for axis in tensor.shape]
            dtype = np.dtype(DTYPES[tensor.type])
            self.cuda.check(addresses[tensor.name], int(np.prod(shape)) * dtype.itemsize)
            binding.bind_output(tensor.name, "cpu", 0, dtype, shape, addresses[tensor.name])
            views[tensor.name] = (addresses[tensor.name], shape, dtype)
        engine.session.run_with_iobinding(binding)
        if engine.api.distort is not None:
            engine.api.distort(engine.path, views, engine.graph)


def _session(graph, folder):
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    settings.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    return onnxruntime.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])


def _io(session):
    return session.get_inputs, session.get_outputs
