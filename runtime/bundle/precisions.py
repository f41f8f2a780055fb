"""The precisions of graphs, weights and tables, one name each. A tensor's dtype has numpy's name: see DTYPES."""

FP32, FP16, BF16, INT8, INT4, FP8 = "fp32", "fp16", "bf16", "int8", "int4", "fp8"

# What numpy calls the elements of a tensor in each precision that graphs and tables are exported in.
DTYPES = {FP32: "float32", FP16: "float16"}


def precision_of(dtype: str) -> str:
    """The precision that has this dtype: 'fp16' of 'float16'. KeyError: none has."""
    return _PRECISIONS[dtype]


_PRECISIONS = {dtype: precision for precision, dtype in DTYPES.items()}
