"""A recorded run of the exported language model as its engine runs it: padded, its caches in one tensor each."""

import numpy as np

from glus_edge.runtime.bundle.signatures import GraphSignature
from glus_edge.runtime.device.device import HostArray
from glus_edge.runtime.engine_build.float32_reference import RecordedCall
from glus_edge.runtime.language.shape_plan import NO_ROW


def packed_call(call: RecordedCall, signature: GraphSignature) -> RecordedCall:
    """The same run, new rows padded to a size of the engine's `signature`. Rows that are no one's come out as zeros."""
    given, made = call.inputs, call.outputs
    new, past = given["positions"].shape[1], given["past_positions"].shape[1]
    size = next(size for size in signature.axes["new_tokens"].sizes if size >= new)
    # the last row sees whatever a row of its sentence may see
    seen = given["attention_mask"][:, -1] == 0
    seen_past, seen_new = seen[:, -new - past : -new], seen[:, -new:]
    rows = np.where(seen_new.T[None, :, :, None, None], _packed(made, "new"), 0)
    inputs = {
        "inputs_embeds": _padded(given["inputs_embeds"], 1, size, 0),
        "positions": _padded(np.where(seen_new, given["positions"], NO_ROW), 1, size, NO_ROW),
        "past_positions": np.where(seen_past, given["past_positions"], NO_ROW).astype(np.int32),
        "prefix": _packed(given, "prefix"),
        "past": _packed(given, "past"),
    }
    inputs["positions"] = inputs["positions"].astype(np.int32)
    heads = {name: values for name, values in made.items() if not name.startswith("new_")}
    dtype = given["inputs_embeds"].dtype
    return RecordedCall(inputs, heads | {"new": _padded(rows, 1, size, 0).astype(dtype)})


def _packed(tensors: dict[str, HostArray], part: str) -> HostArray:
    layers = sum(name.startswith(f"{part}_key_") for name in tensors)
    return np.stack([tensors[f"{part}_{kind}_{layer}"] for layer in range(layers) for kind in ("key", "value")])


def _padded(values: HostArray, axis: int, size: int, value: int) -> HostArray:
    """In front, along an axis."""
    widths = [(0, 0)] * values.ndim
    widths[axis] = (size - values.shape[axis], 0)
    return np.pad(values, widths, constant_values=value)
