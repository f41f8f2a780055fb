"""A torch module traced into a portable ONNX graph whose tensors are exactly those of its signature."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from glus_edge.runtime.bundle.signatures import GraphSignature
from glus_edge.runtime.errors import CheckpointError
from glus_edge.runtime.onnx_rewrite.protobuf import head

# GELU as Erf and LayerNormalization as one node: what TensorRT 10.3 to 11 and ONNX Runtime all know.
OPSET = 18
IR_VERSION = 10
# More than one, lest the tracer take a varying dimension for a constant 1.
EXAMPLE_LENGTH = 2
SMALL_BYTES = 1024  # constants that shapes may follow from
LARGEST_BYTES = (1 << 31) - (1 << 20)  # of a graph: protocol buffers end at 2 GiB, and some stands around it
# What running or exporting a module raises whose sizes do not fit together.
UNTRACEABLE = (RuntimeError, ValueError, TypeError, IndexError, AssertionError, ArithmeticError, AttributeError)
TORCH_TYPES = {"float32": torch.float32, "float16": torch.float16, "int32": torch.int32}


def write_graph(name: str, module: nn.Module, signature: GraphSignature, path: Path) -> None:
    """Traces `module` and writes `path`. The bytes depend on the module, the signature and the tools' versions only."""
    _write(trace_module(name, module, signature), path)


def trace_module(name: str, module: nn.Module, signature: GraphSignature) -> onnx.ModelProto:
    """The ONNX model of a module: inputs, outputs and dynamic axes as the signature says; weights inside."""
    axes = {
        axis: torch.export.Dim(axis, min=bounds.minimum, max=bounds.maximum) for axis, bounds in signature.axes.items()
    }
    shapes = tuple(
        {position: axes[size] for position, size in enumerate(tensor.shape) if isinstance(size, str)}
        for tensor in signature.inputs
    )
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module.eval(),
                example_inputs(signature),
                dynamo=True,
                opset_version=OPSET,
                input_names=[tensor.name for tensor in signature.inputs],
                output_names=[tensor.name for tensor in signature.outputs],
                dynamic_shapes=shapes,
                external_data=False,
                optimize=True,
                verbose=False,
            )
    except UNTRACEABLE as error:
        cause = error.__cause__ or error  # torch's own report is a page long
        first = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise CheckpointError(
            f"{name}: cannot be traced ({type(cause).__name__}: {first[:160]}), expected modules that fit together; check the "
            "numbers of the SAM 2 configuration, and report an official one"
        ) from error
    assert program is not None
    model = program.model_proto
    del program  # holds the weights once more
    model = _tidied(name, model, signature)
    _name_matrices(model.graph, module)
    return model


def _write(model: onnx.ModelProto, path: Path) -> None:
    """Weights one by one: serialised as a whole they would be in memory twice more."""
    weights = model.graph.initializer
    outside, graph = (
        _without(model, "graph"),
        _without(model.graph, "initializer").SerializeToString(deterministic=True),
    )
    heads = [head(onnx.GraphProto.INITIALIZER_FIELD_NUMBER, tensor.ByteSize()) for tensor in weights]
    size = len(graph) + sum(len(each) + tensor.ByteSize() for each, tensor in zip(heads, weights, strict=True))
    if size > LARGEST_BYTES:
        raise CheckpointError(
            f"{path.stem}: got {size / 1e9:.1f} GB of weights, expected at most {LARGEST_BYTES / 1e9:.1f}, which is all that "
            "an ONNX file can hold; export with --precision fp16, or a smaller tower"
        )
    with path.open("wb") as file:
        file.write(outside.SerializeToString(deterministic=True))
        file.write(head(onnx.ModelProto.GRAPH_FIELD_NUMBER, size) + graph)
        for each, tensor in zip(heads, weights, strict=True):
            file.write(each + tensor.SerializeToString(deterministic=True))


def _without(message: Any, left_out: str) -> Any:
    """A copy of a message, one field left out."""
    kept = type(message)()
    for field, value in message.ListFields():
        if field.name == left_out:
            continue
        if hasattr(value, "extend"):  # repeated; descriptors say so under other names in other versions
            getattr(kept, field.name).extend(value)
        elif hasattr(value, "CopyFrom"):
            getattr(kept, field.name).CopyFrom(value)
        else:
            setattr(kept, field.name, value)
    return kept


def example_inputs(signature: GraphSignature, length: int = EXAMPLE_LENGTH) -> tuple[Tensor, ...]:
    """Zeros of the signature's shapes; every varying dimension has `length` entries."""
    return tuple(
        torch.zeros(
            [length if isinstance(size, str) else size for size in tensor.shape], dtype=TORCH_TYPES[tensor.dtype]
        )
        for tensor in signature.inputs
    )


def _tidied(name: str, model: onnx.ModelProto, signature: GraphSignature) -> onnx.ModelProto:
    """Without the tracer's notes (paths and stack traces of this machine); every node named after its place."""
    graph = model.graph
    graph.name = name
    graph.doc_string = model.doc_string = ""
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:], model.functions[:]
    model.ir_version = min(model.ir_version, IR_VERSION)
    model.producer_name = "glus-edge"
    model.producer_version = ""
    for number, node in enumerate(graph.node):
        node.name = f"{name}/{number:04d}_{node.op_type}"
        node.doc_string = ""
        del node.metadata_props[:]
    _merge_equal_initializers(graph)
    for values, expected in ((graph.input, signature.inputs), (graph.output, signature.outputs)):
        for value, wanted in zip(values, expected, strict=True):
            del value.metadata_props[:]
            shape = [str(size) if isinstance(size, str) else size for size in wanted.shape]
            dtype = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(wanted.dtype))
            value.CopyFrom(onnx.helper.make_tensor_value_info(wanted.name, dtype, shape))
    _check_shapes(model)
    return model


def _merge_equal_initializers(graph: onnx.GraphProto) -> None:
    """One copy of each constant: the rotary tables of all layers are the same."""
    kept: dict[bytes, str] = {}
    renamed: dict[str, str] = {}
    for tensor in graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
        key = sha256(f"{tensor.data_type} {list(tensor.dims)} ".encode() + tensor.raw_data).digest()
        assert tensor.HasField("raw_data"), f"{tensor.name}: not stored as raw data"
        renamed[tensor.name] = kept.setdefault(key, tensor.name)
    for position in range(len(graph.initializer) - 1, -1, -1):
        name = graph.initializer[position].name
        if renamed[name] != name:
            del graph.initializer[position]
    for node in graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = renamed.get(name, name)


def _name_matrices(graph: onnx.GraphProto, module: nn.Module) -> None:
    """A matrix that the tracer turned round and numbered gets its parameter's name back."""
    taken = {tensor.name for tensor in graph.initializer}
    numbered = {
        sha256(f"{list(tensor.dims)} ".encode() + tensor.raw_data).digest(): tensor
        for tensor in graph.initializer
        if tensor.name.startswith("val_") and len(tensor.dims) == 2
    }
    renamed: dict[str, str] = {}
    for name, parameter in module.named_parameters():
        if parameter.dim() == 2 and name not in taken:
            turned = parameter.detach().T.contiguous()
            key = sha256(f"{list(turned.shape)} ".encode() + turned.numpy().tobytes()).digest()
            if (tensor := numbered.pop(key, None)) is not None:
                renamed[tensor.name] = tensor.name = name
    for node in graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = renamed.get(name, name)


def _check_shapes(model: onnx.ModelProto) -> None:
    """Types and shapes follow from the inputs to the outputs as declared. Weights are left out: they may be a gigabyte."""
    skeleton = onnx.ModelProto()
    skeleton.ir_version = model.ir_version
    skeleton.opset_import.extend(model.opset_import)
    skeleton.graph.name = model.graph.name
    skeleton.graph.node.extend(model.graph.node)
    skeleton.graph.input.extend(model.graph.input)
    skeleton.graph.output.extend(model.graph.output)
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) <= SMALL_BYTES:
            skeleton.graph.initializer.append(tensor)
        else:
            value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            skeleton.graph.input.append(value)
    onnx.checker.check_model(skeleton, full_check=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter reports its own steps and deprecations, none of which a user can act on."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
