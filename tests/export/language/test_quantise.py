from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from glus_edge.export.checkpoint.finite import check_finite
from glus_edge.export.language.quantise import (
    int4_block_size,
    int4_from_weights,
    int8_from_weights,
    int8_scales,
    weights_from_int4,
)
from glus_edge.runtime.errors import CheckpointError

pytestmark = pytest.mark.torch

FLOAT32 = np.dtype("float32")
FLOAT16 = np.dtype("float16")


def random_weights(rows: int, columns: int, seed: int, magnitude: float = 1.0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * magnitude


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 4),
    st.sampled_from([16, 32, 64, 128]),
    st.integers(1, 9),
    st.integers(0, 1000),
    st.sampled_from([1e-12, 1e-3, 1.0, 1e4]),
    st.sampled_from([FLOAT32, FLOAT16]),
)
def test_int4_is_within_half_a_step_of_every_weight(
    blocks: int, block: int, columns: int, seed: int, magnitude: float, dtype: np.dtype[np.floating]
) -> None:
    weights = random_weights(blocks * block, columns, seed, magnitude)
    quantised = int4_from_weights(weights, block, dtype)
    assert quantised.scales.shape == (blocks, columns)
    assert quantised.scales.dtype == dtype
    assert (quantised.scales > 0).all()
    assert quantised.packed.dtype == np.uint8
    error = np.abs(weights_from_int4(quantised, block) - weights.numpy()).reshape(blocks, block, columns)
    # A scale rounded down to the dtype may leave the largest value up to 8 roundings outside the range.
    allowed = (
        quantised.scales.astype(np.float64) * (0.5 + 8 * np.finfo(dtype).eps) + np.finfo(dtype).smallest_subnormal * 4
    )
    assert (error <= allowed[:, None]).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 1000), st.sampled_from([FLOAT32, FLOAT16]))
def test_int8_is_within_half_a_step_of_every_weight(
    rows: int, columns: int, seed: int, dtype: np.dtype[np.floating]
) -> None:
    weights = random_weights(rows, columns, seed)
    scales = int8_scales(weights.T, dtype)
    values = int8_from_weights(weights, scales)
    assert values.dtype == np.int8
    assert scales.shape == (columns,)
    error = np.abs(values * scales.astype(np.float32) - weights.numpy())
    assert (error <= scales.astype(np.float64) * (0.5 + 127 * np.finfo(dtype).eps)).all()


def test_onnx_runtime_reads_the_packed_weights_as_meant(tmp_path: Path) -> None:
    weights = random_weights(64, 5, 0)
    blocks = int4_from_weights(weights, 32, FLOAT32)
    packed = TensorProto(name="q", data_type=TensorProto.INT4, dims=(64, 5), raw_data=blocks.packed.tobytes())
    scales = TensorProto(name="s", data_type=TensorProto.FLOAT, dims=(2, 5), raw_data=blocks.scales.tobytes())
    node = helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0, block_size=32)
    output = helper.make_tensor_value_info("w", TensorProto.FLOAT, (64, 5))
    graph = helper.make_graph([node], "one", [], [output], [packed, scales])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert np.array_equal(session.run(None, {})[0], weights_from_int4(blocks, 32))


def test_the_first_of_two_values_is_in_the_low_nibble() -> None:
    weights = torch.zeros(16, 2)
    weights[0] = torch.tensor([7.0, -8.0])
    weights[1] = torch.tensor([1.0, -2.0])
    assert int4_from_weights(weights, 16, FLOAT32).packed[:3].tolist() == [0x87, 0xE1, 0x00]


def test_a_block_of_zeros_has_a_positive_scale() -> None:
    blocks = int4_from_weights(torch.zeros(32, 3), 16, FLOAT16)
    assert (blocks.scales > 0).all()
    assert not blocks.packed.any()


def test_the_largest_value_of_either_sign_is_exact() -> None:
    weights = torch.linspace(-1.6, 0.7, 16)[:, None]
    assert weights_from_int4(int4_from_weights(weights, 16, FLOAT32), 16)[0, 0] == np.float32(-1.6)
    restored = weights_from_int4(int4_from_weights(-weights, 16, FLOAT32), 16)
    assert restored[0, 0] == pytest.approx(1.6)


@pytest.mark.parametrize(("channels", "block"), [(4096, 128), (11008, 128), (64, 64), (176, 16), (96, 32)])
def test_the_block_is_the_largest_power_of_two_that_divides(channels: int, block: int) -> None:
    assert int4_block_size("w", channels) == block


@pytest.mark.parametrize("channels", [8, 72, 127])
def test_channels_without_a_block_are_refused(channels: int) -> None:
    with pytest.raises(CheckpointError, match=f"w: {channels} input channels"):
        int4_block_size("w", channels)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_finite_weights_pass_and_others_are_named(dtype: torch.dtype) -> None:
    weights = torch.ones(3, 4, dtype=dtype)
    check_finite("layer", weights, FLOAT16)
    for value in (float("nan"), float("inf"), -float("inf")):
        weights[2, 1] = value
        with pytest.raises(CheckpointError, match="layer: holds NaN or infinity"):
            check_finite("layer", weights, FLOAT16)


def test_a_weight_beyond_the_dtype_is_named() -> None:
    with pytest.raises(CheckpointError, match="layer: holds 70000"):
        check_finite("layer", torch.tensor([1.0, -70000.0]), FLOAT16)
    check_finite("layer", torch.tensor([1.0, -70000.0]), FLOAT32)
