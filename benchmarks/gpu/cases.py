"""The graphs that the GPU benchmark runs: a bundle's on the inputs of a video, or ones of any size with random weights."""

import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np
import onnxruntime
from torch import nn

from glus_edge.benchmarks.gpu.random_bundle import COMPUTE
from glus_edge.benchmarks.gpu.random_weights import RandomWeights
from glus_edge.benchmarks.gpu.row import GpuRow, failure_note
from glus_edge.benchmarks.instruments.counting_engine import axis_sizes
from glus_edge.benchmarks.instruments.graph_work import GraphWork, Work
from glus_edge.export.language.graph import write_language_model
from glus_edge.export.synthetic.blocks import SyntheticBlocks
from glus_edge.export.synthetic.sizes import SIZES
from glus_edge.export.synthetic.weights import CONSTANT
from glus_edge.export.vision.clip_encoder import ClipEncoder
from glus_edge.export.vision.layers import in_dtype
from glus_edge.export.vision.trace import TORCH_TYPES, write_graph
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.precisions import FP32, precision_of
from glus_edge.runtime.bundle.signatures import GraphSignature, Limits
from glus_edge.runtime.device.device import HostArray
from glus_edge.runtime.engine_build.float32_reference import RecordedCall, record_reference
from glus_edge.runtime.engine_build.probe_video import SENTENCE, ProbeVideo
from glus_edge.runtime.errors import OutputError
from glus_edge.runtime.onnx_rewrite.precision import model_in_precision
from glus_edge.runtime.onnx_rewrite.temporary_graph import temporary_graph
from glus_edge.runtime.utils.machine import memory, usable_threads

# One frame of one sentence in a `window` conversation over a full memory: the prefix is cached, one turn is new.
PREFIX_TOKENS, NEW_TOKENS, SLOTS = 332, 110, 7
LIMITS = Limits(sentences=1)  # of the engines
_MOST_WORKERS = 3  # the language model's file, the image encoder and the rest at once
_WORKER_BYTES = 7e9  # resident in one at the most, at the released size


@dataclass(frozen=True)
class Case:
    """One graph."""

    graph: str
    path: Path
    precision: str  # 'fp16', and the weights' where they differ: 'fp16, int4'
    signature: GraphSignature
    calls: list[RecordedCall]  # the outputs are ONNX Runtime's in float32 on the CPU
    work: Work  # of the last call
    seconds: dict[str, float] = field(default_factory=dict)  # what making it took: 'write', 'reference'


@dataclass(frozen=True)
class FailedCase:
    """A graph that could not be made."""

    graph: str
    note: str  # why

    def row(self, backend: str) -> GpuRow:
        """That of a backend which would have run it."""
        return GpuRow(backend, self.graph, "", note=self.note)


def bundle_cases(bundle: Bundle, frames: int, graphs: Iterable[str]) -> Iterator[Case | FailedCase]:
    """The graphs of a bundle on what a video gives them."""
    start = time.perf_counter()
    try:
        calls = record_reference(bundle, ProbeVideo(frames), [SENTENCE], calls_per_graph=2).calls
    except Exception as error:  # noqa: BLE001 - a benchmark's rows say what failed
        yield from (FailedCase(graph, failure_note(error)) for graph in graphs)
        return
    seconds = {"reference": time.perf_counter() - start}  # of all, charged to the first
    for graph in graphs:
        yield _case(bundle, graph, calls[graph], seconds)
        seconds = {}


def random_cases(
    size: str, bundle: Bundle, graphs: Iterable[str], workers: int | None = None
) -> Iterator[Case | FailedCase]:
    """The graphs of a `random_bundle`, written and computed by processes of their own; in the order given.

    Their weights, and so their masks, mean nothing. `workers`: processes; None for as many as threads and memory allow,
    0 to make them in this one.
    """
    workers = _workers() if workers is None else workers
    if not workers:
        yield from (_case_or_failure(size, graph, partial(random_case, size, bundle, graph)) for graph in graphs)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads of CUDA and ONNX Runtime half-way
    with ProcessPoolExecutor(workers, context, _hide_gpu) as pool:
        futures = {graph: pool.submit(random_case, size, bundle, graph) for graph in graphs}
        for graph, future in futures.items():
            yield _case_or_failure(size, graph, future.result)


def _case_or_failure(size: str, graph: str, make: Callable[[], Case]) -> Case | FailedCase:
    try:
        return make()
    except BrokenProcessPool:
        return FailedCase(
            graph,
            f"--size {size}: a process that makes its graphs was ended, most likely for want of memory; free some, or "
            "give a smaller --size",
        )
    except Exception as error:  # noqa: BLE001 - whatever one graph comes to, the others' rows are wanted
        return FailedCase(graph, failure_note(error))


def random_case(size: str, bundle: Bundle, graph: str) -> Case:
    """Writes one graph of a `random_bundle` and computes what it should give. OutputError: there is no room for it."""
    start = time.perf_counter()
    path, chosen = bundle.graph_path(graph), SIZES[size]
    try:
        if graph == "language_model":
            weights, segment_id = bundle.manifest.graphs[graph].weights, bundle.manifest.prompt.segment_token_id
            if weights == "int4":
                blocks = SyntheticBlocks(chosen.language, segment_id)
                write_language_model(blocks, bundle.manifest.model, path, COMPUTE, weights, blocks=blocks.blocks)
            else:
                source = RandomWeights(chosen.language, segment_id)
                write_language_model(source, bundle.manifest.model, path, COMPUTE, weights)
        else:
            write_graph(graph, in_dtype(_module(size, graph), TORCH_TYPES[COMPUTE]), bundle.signature(graph), path)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror}), expected room for the graphs; free some space, name another "
            "folder with TMPDIR, or give a smaller --size"
        ) from error
    written = time.perf_counter()
    signature = bundle.signature(graph, LIMITS)
    inputs = random_inputs(signature)
    call = RecordedCall(inputs, reference_outputs(path, signature, inputs))
    return _case(bundle, graph, [call], {"write": written - start, "reference": time.perf_counter() - written})


def random_inputs(signature: GraphSignature) -> dict[str, HostArray]:
    """Inputs as one frame has them: real positions, everything visible, activations of order one."""
    generator = np.random.default_rng(0)
    sizes = {"prefix_tokens": PREFIX_TOKENS, "new_tokens": NEW_TOKENS, "past_tokens": 0, "slots": SLOTS}
    sizes |= {"all_tokens": PREFIX_TOKENS + NEW_TOKENS, "sentences": 1, "images": 1}
    inputs: dict[str, HostArray] = {}
    for tensor in signature.inputs:
        shape = [sizes[size] if isinstance(size, str) else size for size in tensor.shape]
        if tensor.dtype == "int32":
            inputs[tensor.name] = PREFIX_TOKENS + np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
        elif tensor.name == "attention_mask":
            inputs[tensor.name] = np.zeros(shape, np.float32)
        else:
            inputs[tensor.name] = generator.standard_normal(shape, np.float32).astype(tensor.dtype)
    if "inputs_embeds" in inputs:
        inputs["inputs_embeds"][..., 0] = CONSTANT  # as every embedding has it: [SEG] wins, and by far
    return inputs


def reference_outputs(path: Path, signature: GraphSignature, inputs: Mapping[str, HostArray]) -> dict[str, HostArray]:
    """What ONNX Runtime makes of the inputs on the CPU, the graph's half-precision arithmetic replaced by float32."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    model = model_in_precision(path.read_bytes(), FP32, cast_scales=True)
    with temporary_graph(model, path.parent, f"{path.stem}.reference") as rewritten:
        session = onnxruntime.InferenceSession(str(rewritten), settings, providers=["CPUExecutionProvider"])
        names = [tensor.name for tensor in signature.outputs]
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _workers() -> int:
    free = memory()
    fitting = _MOST_WORKERS if free is None else int(free.free_bytes / _WORKER_BYTES)
    return max(1, min(_MOST_WORKERS, usable_threads(), fitting))


def _case(bundle: Bundle, graph: str, calls: list[RecordedCall], seconds: dict[str, float]) -> Case:
    path, signature, entry = bundle.graph_path(graph), bundle.signature(graph, LIMITS), bundle.manifest.graphs[graph]
    sizes = axis_sizes(signature, calls[-1].inputs)
    precision = precision_of(entry.compute)
    label = precision if entry.weights == precision else f"{precision}, {entry.weights}"
    return Case(graph, path, label, signature, calls, GraphWork(path).work(sizes), seconds)


@cache
def _sam2_modules(size: str) -> dict[str, nn.Module]:
    # Imported here: the sam2 package is needed for its own four graphs alone.
    from glus_edge.export.vision.image_encoder import ImageEncoder
    from glus_edge.export.vision.mask_decoder import MaskDecoder
    from glus_edge.export.vision.memory_attention import MemoryAttention
    from glus_edge.export.vision.memory_encoder import MemoryEncoder
    from glus_edge.export.vision.sam2_model import build_sam2

    sam2 = build_sam2(SIZES[size].sam2_tree()).requires_grad_(False)
    kinds = (ImageEncoder, MemoryAttention, MaskDecoder, MemoryEncoder)
    names = ("image_encoder", "memory_attention", "mask_decoder", "memory_encoder")
    return {name: kind(sam2) for name, kind in zip(names, kinds, strict=True)}


def _module(size: str, graph: str) -> nn.Module:
    """The module of a traced graph, its weights as torch initialises them."""
    if graph != "clip_encoder":
        return _sam2_modules(size)[graph]
    return ClipEncoder(SIZES[size].vision, SIZES[size].language.hidden_size).eval()


def _hide_gpu() -> None:
    """Graphs are made on the CPU: a process that touched the GPU would take of its memory."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
