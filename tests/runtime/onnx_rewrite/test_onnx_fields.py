"""The table of numbers against the `onnx` package's own definition of the format."""

import inspect

import onnx
import pytest

from glus_edge.runtime.onnx_rewrite import onnx_fields

pytestmark = pytest.mark.torch  # onnx comes with the export side

MESSAGES = {
    "TensorTypeProto": onnx.TypeProto.Tensor,
    "DimensionProto": onnx.TensorShapeProto.Dimension,
}
ENUMERATIONS = {"AttributeType": onnx.AttributeProto.AttributeType, "DataType": onnx.TensorProto.DataType}
SHORT = {("AttributeProto", "INT"): "i", ("AttributeProto", "TENSOR"): "t"}


def classes():
    return [kind for _, kind in inspect.getmembers(onnx_fields, inspect.isclass)]


@pytest.mark.parametrize("table", classes(), ids=lambda kind: kind.__name__)
def test_every_number_is_the_formats(table):
    name = table.__name__
    numbers = {key: value for key, value in vars(table).items() if not key.startswith("_")}
    assert numbers
    if name in ENUMERATIONS:
        expected = {key: ENUMERATIONS[name].Value(key) for key in numbers}
    else:
        fields = MESSAGES.get(name, getattr(onnx, name, None)).DESCRIPTOR.fields_by_name
        expected = {key: fields[SHORT.get((name, key), key.lower())].number for key in numbers}
    assert numbers == expected
