"""Numbers of onnx.proto3 that graphs are read and written by here: fields of its messages and values of its enumerations.

The one place they stand in; a test compares every one with the `onnx` package's.
"""


class ModelProto:
    """Fields of a model."""

    IR_VERSION, PRODUCER_NAME, GRAPH, OPSET_IMPORT, FUNCTIONS = 1, 2, 7, 8, 25


class OperatorSetIdProto:
    """Fields of an operator set that a model uses."""

    DOMAIN, VERSION = 1, 2


class GraphProto:
    """Fields of a graph."""

    NODE, NAME, INITIALIZER, INPUT, OUTPUT = 1, 2, 5, 11, 12


class NodeProto:
    """Fields of a node."""

    INPUT, OUTPUT, NAME, OP_TYPE, ATTRIBUTE, DOMAIN = 1, 2, 3, 4, 5, 7


class AttributeProto:
    """Fields of a node's attribute."""

    NAME, INT, TENSOR, INTS, TYPE = 1, 3, 5, 8, 20


class AttributeType:
    """What an attribute holds."""

    INT, INTS = 2, 7


class TensorProto:
    """Fields of an initializer or of a tensor in an attribute."""

    DIMS, DATA_TYPE, NAME, RAW_DATA = 1, 2, 8, 9


class DataType:
    """Type of a tensor's elements."""

    FLOAT, UINT8, INT64, FLOAT16, BFLOAT16, FLOAT8E4M3FN, INT4 = 1, 2, 7, 10, 16, 17, 22


class ValueInfoProto:
    """Fields of a graph's input or output."""

    NAME, TYPE = 1, 2


class TypeProto:
    """Fields of a value's type."""

    TENSOR_TYPE = 1


class TensorTypeProto:
    """Fields of a tensor's type."""

    ELEM_TYPE, SHAPE = 1, 2


class TensorShapeProto:
    """Fields of a shape."""

    DIM = 1


class DimensionProto:
    """Fields of a dimension: a size, or the name of one that varies."""

    DIM_VALUE, DIM_PARAM = 1, 2
