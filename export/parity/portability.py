"""A static check of a graph against what TensorRT's ONNX parsers read, from JetPack 6 (10.3) to 11, and ONNX Runtime.

The rules follow the parsers' operator tables (onnx-tensorrt, docs/operators.md of 10.1 and 11.1) and what ONNX Runtime
1.20 accepts. A finding names the rule, the node and the versions that would refuse it or compute something else.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx

ALL = ("TensorRT 10.3", "TensorRT 10.13", "TensorRT 10.16", "TensorRT 11")
RUNTIME = ("ONNX Runtime 1.20",)
MAXIMUM_OPSET = 21
MAXIMUM_IR = 10
TYPES = onnx.TensorProto
REFUSED_TYPES = {
    TYPES.DOUBLE,
    TYPES.COMPLEX64,
    TYPES.COMPLEX128,
    TYPES.STRING,
    TYPES.UINT16,
    TYPES.UINT32,
    TYPES.UINT64,
}
# Standard operators that no parser version implements.
UNKNOWN_OPERATORS = {
    *("Bernoulli", "BitShift", "Col2Im", "Compress", "ConcatFromSequence", "DFT", "Det", "MaxRoiPool", "MaxUnpool"),
    *("MelWeightMatrix", "Multinomial", "Optional", "OptionalGetElement", "OptionalHasElement", "STFT", "SequenceAt"),
    *("SequenceConstruct", "SequenceEmpty", "SequenceInsert", "SequenceMap", "SplitToSequence", "StringConcat"),
    *("StringNormalizer", "TfIdfVectorizer", "Unique"),
}
REDUCTIONS = {
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"),
    *("ReduceSum", "ReduceSumSquare"),
}


class Finding(NamedTuple):
    """One thing that some version would not take."""

    rule: str
    node: str  # name of the node or tensor
    why: str
    versions: tuple[str, ...]

    def __str__(self) -> str:
        """One line for a person."""
        return f"{self.node}: {self.why} (rule {self.rule}; {', '.join(self.versions)})"


def portability_findings(path: Path) -> list[Finding]:
    """Every finding of an ONNX file; its external weights are not read."""
    model = onnx.load(path, load_external_data=False)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    findings = [*_model_findings(model)]
    for tensor in constants.values():
        findings += _constant_findings(tensor)
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            findings.append(Finding("standard-domain", node.name, f"{node.domain}.{node.op_type} is not ONNX", ALL))
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        for check in RULES:
            findings += check(node, attributes, constants)
    return findings


Attributes = dict[str, object]
Constants = dict[str, onnx.TensorProto]


def _model_findings(model: onnx.ModelProto) -> Iterator[Finding]:
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version > MAXIMUM_OPSET:
            yield Finding("opset", model.graph.name, f"opset {opset.version} is above {MAXIMUM_OPSET}", ALL[:3])
    if model.ir_version > MAXIMUM_IR:
        yield Finding("ir-version", model.graph.name, f"IR version {model.ir_version} is above {MAXIMUM_IR}", RUNTIME)
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type in REFUSED_TYPES:
            yield _type_finding(value.name, value.type.tensor_type.elem_type)


def _constant_findings(tensor: onnx.TensorProto) -> Iterator[Finding]:
    if tensor.data_type in REFUSED_TYPES or tensor.data_type == TYPES.UINT8:
        yield _type_finding(tensor.name, tensor.data_type)
    if tensor.data_type not in (TYPES.FLOAT, TYPES.FLOAT16) or tensor.data_location == TYPES.EXTERNAL:
        return
    if not np.isfinite(onnx.numpy_helper.to_array(tensor)).all():
        yield Finding("finite-constants", tensor.name, "holds a value that is not finite in its dtype", ALL)


def _type_finding(name: str, data_type: int) -> Finding:
    return Finding("types", name, f"has dtype {TYPES.DataType.Name(data_type).lower()}", ALL)


def _operator(node: onnx.NodeProto, attributes: Attributes, constants: Constants) -> Iterator[Finding]:
    if node.op_type in UNKNOWN_OPERATORS:
        yield Finding("operator", node.name, f"{node.op_type} is in no parser's table", ALL)


def _cast(node: onnx.NodeProto, attributes: Attributes, constants: Constants) -> Iterator[Finding]:
    to = attributes.get("to")
    if node.op_type == "Cast" and isinstance(to, int) and (to in REFUSED_TYPES or to == TYPES.UINT8):
        yield _type_finding(node.name, to)


def _embedded_constant(node: onnx.NodeProto, attributes: Attributes, constants: Constants) -> Iterator[Finding]:
    for value in attributes.values():
        if isinstance(value, onnx.TensorProto):
            yield from (finding._replace(node=node.name) for finding in _constant_findings(value))


def _resize(node: onnx.NodeProto, attributes: Attributes, constants: Constants) -> Iterator[Finding]:
    if node.op_type == "Resize":
        if attributes.get("antialias"):
            yield Finding("resize", node.name, "Resize with antialias", ALL)
        if attributes.get("mode", b"nearest") not in (b"nearest", b"linear"):
            yield Finding("resize", node.name, "Resize that is neither nearest nor linear", ALL)


def _scatter(node: onnx.NodeProto, attributes: Attributes, constants: Constants) -> Iterator[Finding]:
    if node.op_type in ("ScatterND", "ScatterElements") and attributes.get("reduction", b"none") != b"none":
        yield Finding("scatter-reduction", node.name, f"{node.op_type} with a reduction", ALL)


def _einsum(node: onnx.NodeProto, attributes: Attributes, constants: Constants) -> Iterator[Finding]:
    equation = attributes.get("equation", b"")
    if node.op_type == "Einsum" and isinstance(equation, bytes) and b"..." in equation:
        yield Finding("einsum-ellipsis", node.name, "Einsum with an ellipsis", ALL[:1])


def _reduction(node: onnx.NodeProto, attributes: Attributes, constants: Constants) -> Iterator[Finding]:
    if node.op_type in REDUCTIONS and len(node.input) > 1 and node.input[1] and node.input[1] not in constants:
        yield Finding("constant-axes", node.name, f"{node.op_type} over axes that are no constant", ALL)


def _top_k(node: onnx.NodeProto, attributes: Attributes, constants: Constants) -> Iterator[Finding]:
    if node.op_type == "TopK" and attributes.get("sorted", 1) != 1:
        yield Finding("sorted-topk", node.name, "TopK that is not sorted", ALL)


def _max_pool(node: onnx.NodeProto, attributes: Attributes, constants: Constants) -> Iterator[Finding]:
    if node.op_type == "MaxPool" and len([name for name in node.output if name]) > 1:
        yield Finding("maxpool-indices", node.name, "MaxPool with indices", ALL)


def _dequantise(node: onnx.NodeProto, attributes: Attributes, constants: Constants) -> Iterator[Finding]:
    weight = constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
    if weight is None or weight.data_type != TYPES.INT4:
        return
    if len(weight.dims) != 2:
        yield Finding("int4-matrix", node.name, f"INT4 weights of {len(weight.dims)} dimensions", ALL[:1])
    if len(node.input) > 2 and node.input[2]:
        yield Finding("int4-symmetric", node.name, "INT4 weights with a zero point", ALL)
    scale = constants.get(node.input[1])
    if scale is None:
        yield Finding("int4-scale", node.name, "INT4 weights whose scale is no constant", ALL)
    elif scale.data_location != TYPES.EXTERNAL and not (onnx.numpy_helper.to_array(scale) > 0).all():
        yield Finding("int4-scale", node.name, "INT4 weights with a scale that is not above 0", ALL)


RULES: tuple[Callable[[onnx.NodeProto, Attributes, Constants], Iterator[Finding]], ...] = (
    _operator,
    _cast,
    _embedded_constant,
    _resize,
    _scatter,
    _einsum,
    _reduction,
    _top_k,
    _max_pool,
    _dequantise,
)
