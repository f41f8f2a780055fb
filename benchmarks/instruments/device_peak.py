"""What a GPU can do at most, timed on it in the run whose shares are stated: a product by TensorRT, a copy by CUDA."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import helper

from glus_edge.benchmarks.instruments.peak import REPEATS, MachinePeak
from glus_edge.runtime.bundle.signatures import GraphSignature, TensorSignature
from glus_edge.runtime.device.cuda_api import Cuda
from glus_edge.runtime.device.cuda_device import CudaDevice
from glus_edge.runtime.device.cuda_stream import CudaStream
from glus_edge.runtime.tensorrt.engine import TensorRtEngine
from glus_edge.runtime.tensorrt.library import TensorRt
from glus_edge.runtime.tensorrt.plan import BuildSettings, plan_from_onnx

SIDE = 4096  # of the square matrices: large enough that a product is limited by arithmetic
COPIED_BYTES = 256 << 20  # beyond every cache


def measure_device_peak(
    tensorrt: TensorRt, cuda: Cuda, dtype: str, *, side: int = SIDE, copied_bytes: int = COPIED_BYTES
) -> MachinePeak:
    """The best of several timings each; `dtype`: 'float16' or 'float32', which is not TF32. EngineError: as for a build."""
    device = CudaDevice(cuda)
    tensors = [TensorSignature(name, dtype, (side, side)) for name in ("left", "right", "product")]
    signature = GraphSignature(tuple(tensors[:2]), tuple(tensors[2:]), {})
    with TemporaryDirectory() as folder:
        path = Path(folder) / "product.onnx"
        path.write_bytes(_product(signature))
        plan = plan_from_onnx(tensorrt, "product", path, signature, BuildSettings())
        engine = TensorRtEngine(tensorrt, "product", signature, plan.data, device)
    arrays = {tensor.name: device.empty((side, side), dtype) for tensor in tensors}
    random = np.random.default_rng(0)
    for name in ("left", "right"):  # zeros switch few transistors: a GPU that its power limits would seem faster
        device.write(arrays[name], random.standard_normal((side, side), np.float32).astype(dtype))
    inputs, outputs = {name: arrays[name] for name in ("left", "right")}, {"product": arrays["product"]}
    source, target = (device.zeros((copied_bytes,), "uint8") for _ in range(2))
    product_ms = best_ms(cuda, engine.stream, lambda: engine.run(inputs, outputs))
    copy_ms = best_ms(cuda, device.stream(), lambda: device.copy(target, source))
    engine.close()
    return MachinePeak(dtype, 2 * side**3 / product_ms * 1e3, 2 * copied_bytes / copy_ms * 1e3)


def best_ms(cuda: Cuda, stream: CudaStream, work: Callable[[], None]) -> float:
    """The shortest of several timings of what `work` enqueues on the stream; the first is not counted."""
    return float(np.min(event_ms(cuda, stream, work, warm_up=1, measured=REPEATS)))


def event_ms(cuda: Cuda, stream: CudaStream, work: Callable[[], None], warm_up: int, measured: int) -> list[float]:
    """Milliseconds on the device of each call."""
    start, stop = cuda.create_event(), cuda.create_event()
    times = []
    for number in range(warm_up + measured):
        cuda.record(start, stream.handle)
        work()
        cuda.record(stop, stream.handle)
        cuda.synchronise_event(stop)
        if number >= warm_up:
            times.append(cuda.elapsed_ms(start, stop))
    cuda.destroy_event(start)
    cuda.destroy_event(stop)
    return times


def _product(signature: GraphSignature) -> bytes:
    def value(tensor: TensorSignature) -> onnx.ValueInfoProto:
        dtype = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
        return helper.make_tensor_value_info(tensor.name, dtype, tensor.shape)

    node = helper.make_node("MatMul", ["left", "right"], ["product"], name="product")
    graph = helper.make_graph(
        [node], "product", list(map(value, signature.inputs)), list(map(value, signature.outputs))
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content
