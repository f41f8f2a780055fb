"""A graph whose weights lie in a file of another name, as the files of a hub's cache do."""

from glus_edge.runtime.onnx_rewrite.protobuf import BYTES, Field, Message, parse, serialise, text

# Field numbers of onnx.proto.
_GRAPH, _INITIALIZER, _EXTERNAL_DATA, _KEY, _VALUE = 7, 5, 13, 1, 2


def model_with_external_file(model: bytes, name: str) -> bytes:
    """The same model, all its external tensors in the file `name`. ValueError: it is no ONNX model."""
    return serialise(_changed(parse(model), (_GRAPH, _INITIALIZER, _EXTERNAL_DATA), name))


def _changed(message: Message, path: tuple[int, ...], name: str) -> Message:
    if not path:
        if text(message, _KEY) != "location":
            return message
        return [field for field in message if field.number != _VALUE] + [Field(_VALUE, BYTES, name.encode())]
    return [
        field._replace(value=serialise(_changed(parse(field.value), path[1:], name)))
        if field.number == path[0] and isinstance(field.value, bytes)
        else field
        for field in message
    ]
