"""An ONNX model taken apart so that its graph can be exchanged; external weights are not looked at."""

from collections.abc import Iterable
from typing import NamedTuple

from glus_edge.runtime.onnx_rewrite.onnx_fields import ModelProto
from glus_edge.runtime.onnx_rewrite.protobuf import BYTES, Field, Message, every, parse, serialise


class OnnxModel(NamedTuple):
    """A model without functions."""

    fields: Message  # of the model
    place: int  # of the graph among them
    graph: Message  # the graph's fields

    def with_graph(self, graph: Message, added: Iterable[Field] = ()) -> bytes:
        """The serialised model with this graph in place of its own, and further fields."""
        changed = [*self.fields, *added]
        changed[self.place] = Field(ModelProto.GRAPH, BYTES, serialise(graph))
        return serialise(changed)


def parse_model(content: bytes) -> OnnxModel:
    """A serialised model. ValueError: it is none, or has functions."""
    fields = parse(content)
    if list(every(fields, ModelProto.FUNCTIONS)):
        raise ValueError("it has functions, and graphs as exported have none")
    for place, field in enumerate(fields):
        if field.number == ModelProto.GRAPH and isinstance(field.value, bytes):
            return OnnxModel(fields, place, parse(field.value))
    raise ValueError("it holds no graph")
