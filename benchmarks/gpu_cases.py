"""The graphs that the GPU benchmark runs: a bundle's on the inputs of a clip, or ones of any size with random weights."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn

from glus_edge.export.clip_encoder import ClipEncoder
from glus_edge.export.image_encoder import ImageEncoder
from glus_edge.export.language_config import LanguageConfig
from glus_edge.export.language_graph import write_language_model
from glus_edge.export.layers import in_dtype
from glus_edge.export.mask_decoder import MaskDecoder
from glus_edge.export.memory_attention import MemoryAttention
from glus_edge.export.memory_encoder import MemoryEncoder
from glus_edge.export.modules import model_dimensions
from glus_edge.export.sam2_model import built
from glus_edge.export.synthetic_sizes import SyntheticSize
from glus_edge.export.tensor_names import language_shapes
from glus_edge.export.trace import TORCH_TYPES, write_graph
from glus_edge.runtime.bundle import Bundle
from glus_edge.runtime.device import HostArray
from glus_edge.runtime.engine_build import PRECISIONS
from glus_edge.runtime.gate_clip import SENTENCE, GateClip
from glus_edge.runtime.onnx_precision import write_in_precision
from glus_edge.runtime.reference_run import Call, record
from glus_edge.runtime.signatures import GraphSignature, Limits, signatures

# One frame of one sentence in a `window` conversation over a full memory: the prefix is cached, one turn is new.
PREFIX_TOKENS, NEW_TOKENS, SLOTS = 332, 110, 7
_DRAWN = 1 << 20  # random numbers drawn for one tensor; larger ones repeat them, for drawing gigabytes takes minutes


@dataclass(frozen=True)
class Case:
    """One graph."""

    graph: str
    path: Path
    precision: str  # 'fp16', and the weights' where they differ: 'fp16, int4'
    signature: GraphSignature
    calls: list[Call]  # the outputs are ONNX Runtime's in float32 on the CPU
    module: nn.Module | None = None  # the same in torch, float32, for the baseline


def bundle_cases(bundle: Bundle, frames: int, graphs: Iterable[str]) -> list[Case]:
    """The graphs of a bundle on what a clip gives them."""
    calls = record(bundle, GateClip(frames), [SENTENCE], calls_per_graph=2).calls
    limits = Limits(sentences=1)
    return [
        Case(
            graph,
            bundle.graph_path(graph),
            _precision(entry.compute, entry.weights),
            bundle.signature(graph, limits),
            c,
        )
        for graph, entry, c in ((graph, bundle.manifest.graphs[graph], calls[graph]) for graph in graphs)
    ]


def random_cases(
    size: SyntheticSize, folder: Path, graphs: Iterable[str], compute: str = "float16", weights: str = "int4"
) -> list[Case]:
    """Graphs of this size, written to `folder` with random weights, on random inputs. Masks mean nothing."""
    torch.manual_seed(0)
    sam2 = built(size.sam2_tree()).requires_grad_(False)
    language = size.language
    dimensions = model_dimensions(size.vision, language, sam2)
    modules: dict[str, nn.Module] = {
        "clip_encoder": ClipEncoder(size.vision, language.hidden_size).eval(),
        "image_encoder": ImageEncoder(sam2),
        "memory_attention": MemoryAttention(sam2),
        "mask_decoder": MaskDecoder(sam2),
        "memory_encoder": MemoryEncoder(sam2),
    }
    traced, known = (signatures(dimensions, compute, limits) for limits in (None, Limits(sentences=1)))
    cases = []
    for graph in graphs:
        path, module = folder / f"{graph}.onnx", modules.get(graph)
        if module is None:
            write_language_model(_RandomWeights(language), dimensions, path, compute, weights)
        else:
            write_graph(graph, in_dtype(module, TORCH_TYPES[compute]), traced[graph], path)
        inputs = random_inputs(known[graph])
        call = Call(inputs, reference_outputs(path, compute, known[graph], inputs))
        stored = weights if module is None else PRECISIONS[compute]
        cases.append(Case(graph, path, _precision(compute, stored), known[graph], [call], module))
    return cases


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
    return inputs


def reference_outputs(
    path: Path, compute: str, signature: GraphSignature, inputs: Mapping[str, HostArray]
) -> dict[str, HostArray]:
    """What ONNX Runtime makes of the inputs on the CPU, the graph's half-precision arithmetic replaced by float32."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    rewritten = path.with_name(f".{path.stem}.reference.onnx")
    try:
        if compute == "float16":
            write_in_precision(path, rewritten, "fp32")
        source = rewritten if compute == "float16" else path
        session = onnxruntime.InferenceSession(str(source), settings, providers=["CPUExecutionProvider"])
        names = [tensor.name for tensor in signature.outputs]
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))
    finally:
        rewritten.unlink(missing_ok=True)


class _RandomWeights:
    """A language model's tensors by name and shape; see glus_edge.export.language_weights.LanguageWeights."""

    def __init__(self, config: LanguageConfig) -> None:
        self.config = config
        self._shapes = language_shapes(config)
        self._drawn = torch.randn(_DRAWN, generator=torch.Generator().manual_seed(0))

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor: norms are ones, matrices keep the scale of what they are multiplied with."""
        shape = self._shapes[name]
        if len(shape) == 1:
            return torch.zeros(shape) if name.endswith("bias") else torch.ones(shape)
        count = math.prod(shape)
        values = self._drawn.repeat(-(-count // _DRAWN))[:count].reshape(shape)
        return values.mul_(1 / math.sqrt(shape[-1]))


def _precision(compute: str, weights: str) -> str:
    precision = PRECISIONS[compute]
    return precision if weights == precision else f"{precision}, {weights}"
