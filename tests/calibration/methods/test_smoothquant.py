"""Magnitude moved through a norm: the graph computes the same, and 8 bits cost less where channels differ."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

from glus_edge.calibration.apply import check_shifts
from glus_edge.calibration.methods.graph_matrices import graph_matrices
from glus_edge.calibration.methods.norm_groups import norm_groups, with_shifts
from glus_edge.calibration.methods.qdq import EightBits, with_eight_bits
from glus_edge.calibration.methods.smoothquant import MOST, candidate_shifts
from glus_edge.calibration.recipe import MatrixRecipe, Recipe, used_scales
from glus_edge.calibration.statistics.encoder_statistics import encoder_ranges
from glus_edge.runtime.errors import InputError

pytestmark = pytest.mark.torch

CHANNELS = 16
RNG = np.random.default_rng(0)
PIXELS = RNG.standard_normal((1, 6, 6, 3)).astype(np.float32)
LOUD = np.where(np.arange(CHANNELS) == 3, 60.0, 1.0)  # one channel of the first norm


def block(dtype=np.float32, also_read=False):
    """pixels -> tokens; norm -> padded windows -> qkv, and norm -> shortcut; second norm -> fc1, whose sum is the output."""
    weights = {
        "embed.weight": RNG.standard_normal((3, CHANNELS)),
        "blocks.0.norm1.weight": LOUD * RNG.uniform(0.5, 1.5, CHANNELS),
        "blocks.0.norm1.bias": RNG.standard_normal(CHANNELS),
        "blocks.0.qkv.weight": RNG.standard_normal((CHANNELS, 24)),
        "blocks.0.proj.weight": RNG.standard_normal((CHANNELS, 24)),
        "blocks.0.norm2.weight": np.ones(24),
        "blocks.0.fc1.weight": RNG.standard_normal((24, 8)),
        "blocks.0.fc1.bias": RNG.standard_normal(8),
        "zero": np.zeros(()),
    }
    whole = {
        "pads": [0, 0, 0, 0, 0, 2, 2, 0],
        "windows": [1, 2, 4, 2, 4, CHANNELS],
        "window_rows": [4, 16, CHANNELS],
        "picture": [1, 64, 24],
        "flat": [1, 36, CHANNELS],
    }
    nodes = [
        helper.make_node("MatMul", ["pixels", "embed.weight"], ["tokens"]),
        helper.make_node("LayerNormalization", ["tokens", "blocks.0.norm1.weight", "blocks.0.norm1.bias"], ["normal"]),
        helper.make_node("Pad", ["normal", "pads", "zero"], ["padded"]),
        helper.make_node("Reshape", ["padded", "windows"], ["split"]),
        helper.make_node("Transpose", ["split"], ["turned"], perm=[0, 1, 3, 2, 4, 5]),
        helper.make_node("Reshape", ["turned", "window_rows"], ["rows"]),
        helper.make_node("MatMul", ["rows", "blocks.0.qkv.weight"], ["qkv"]),
        helper.make_node("Reshape", ["qkv", "picture"], ["joined"]),
        helper.make_node("Slice", ["joined", "start", "stop", "axis"], ["attended"]),
        helper.make_node("Reshape", ["normal", "flat"], ["shortcut_rows"]),
        helper.make_node("MatMul", ["shortcut_rows", "blocks.0.proj.weight"], ["shortcut"]),
        helper.make_node("Add", ["attended", "shortcut"], ["sum"]),
        helper.make_node("LayerNormalization", ["sum", "blocks.0.norm2.weight"], ["normal2"]),
        helper.make_node("MatMul", ["normal2", "blocks.0.fc1.weight"], ["hidden"]),
        helper.make_node("Add", ["hidden", "blocks.0.fc1.bias"], ["features"]),
    ]
    whole |= {"start": [0], "stop": [36], "axis": [1]}
    outputs = {"features": 8, "normal2": 24} if also_read else {"features": 8}
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes,
        "block",
        [helper.make_tensor_value_info("pixels", kind, [1, 6, 6, 3])],
        [helper.make_tensor_value_info(name, kind, [1, 36, width]) for name, width in outputs.items()],
        [
            *(numpy_helper.from_array(value.astype(dtype), name) for name, value in weights.items()),
            *(numpy_helper.from_array(np.array(value, np.int64), name) for name, value in whole.items()),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model, pixels=PIXELS):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["features"], {"pixels": pixels})[0].astype(np.float64)


def distance(found, exact):
    return np.linalg.norm(found - exact) / np.linalg.norm(exact)


def found_groups(model):
    return norm_groups(model, graph_matrices(model))


def test_a_norm_is_grouped_with_all_that_reads_its_channels_and_only_if_that_is_all():
    assert [group.matrices for group in found_groups(block())] == [
        ("blocks.0.qkv.weight", "blocks.0.proj.weight"),
        ("blocks.0.fc1.weight",),
    ]
    assert [group.name for group in found_groups(block(also_read=True))] == ["blocks.0.qkv.weight"]


def broken(model, place, **changes):
    node = model.graph.node[place]
    for name, value in changes.items():
        if name == "op":
            node.op_type = value
        else:
            for attribute in node.attribute:
                if attribute.name == name:
                    attribute.CopyFrom(helper.make_attribute(name, value))
    return model


@pytest.mark.parametrize(
    "model",
    [
        broken(block(), 4, perm=[0, 1, 3, 2, 5, 4]),  # channels leave the last axis
        broken(block(), 2, op="Softmax"),  # what is read is no longer proportional
    ],
    ids=["transposed", "computed"],
)
def test_channels_that_do_not_arrive_as_they_left_are_no_group(model):
    assert [group.name for group in found_groups(model)] == ["blocks.0.fc1.weight"]


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 1e-5), (np.float16, 5e-3)])
def test_a_shift_leaves_what_the_graph_computes(dtype, bound):
    model = block(dtype)
    pixels = PIXELS.astype(dtype)
    groups = found_groups(model)
    shifts = {
        group.name: RNG.uniform(0.1, 10, n).astype(np.float32) for group, n in zip(groups, (CHANNELS, 24), strict=True)
    }
    edited = with_shifts(model, groups, shifts)
    onnx.checker.check_model(edited)
    assert distance(run(edited, pixels), run(model, pixels)) < bound
    names = [tensor.name for tensor in edited.graph.initializer]
    assert "blocks.0.norm1.weight" not in names
    assert len(names) == len(model.graph.initializer)
    before, after = (
        numpy_helper.to_array(next(t for t in each.graph.initializer if t.name == "blocks.0.proj.weight"))
        for each in (model, edited)
    )
    assert np.allclose(after, before * shifts["blocks.0.qkv.weight"][:, None], rtol=1e-2)
    assert with_shifts(model, groups, {}) == model


def test_candidates_lower_loud_channels_and_stay_in_bounds():
    largest = np.array([1, 1, 1, 100, 0], np.float32)
    matrix = np.ones((5, 4), np.float32)
    for shift in candidate_shifts(largest, [matrix, 0.5 * matrix]):
        assert shift.dtype == np.float32
        assert shift[3] > shift[0] == 1
        assert 1 / MOST <= shift.min() <= shift.max() <= MOST


def test_a_shift_is_taken_where_it_lowers_the_error_and_the_graph_gains_by_it():
    model = block()
    feeds = [{"pixels": PIXELS}, {"pixels": PIXELS * 2}]
    plain, moved = (encoder_ranges(model, feeds, ("int8",), shift=shift) for shift in (False, True))
    assert not plain.shifts
    assert "blocks.0.qkv.weight" in moved.shifts
    before, after = ({each.matrix.name: each for each in found.ranges} for found in (plain, moved))
    assert list(before) == list(after)
    for name in ("blocks.0.qkv.weight", "blocks.0.proj.weight"):
        assert after[name].shift == "blocks.0.qkv.weight"
        assert after[name].reach["int8"] < before[name].reach["int8"]
    together = [sum(each[name].error["int8"] ** 2 for name in before) for each in (before, after)]
    assert together[1] < 0.5 * together[0]

    def error(found):
        edited = with_shifts(model, found_groups(model), found.shifts)
        choices = {each.matrix.name: EightBits("int8", each.reach["int8"]) for each in found.ranges}
        return distance(run(with_eight_bits(edited, graph_matrices(edited), choices)), run(model))

    assert error(moved) < 0.8 * error(plain)


def test_no_shift_is_taken_where_channels_are_alike():
    model = block()
    pairs = np.zeros((3, CHANNELS), np.float32)
    pairs[np.arange(CHANNELS) // 2 % 3, np.arange(CHANNELS)] = np.where(np.arange(CHANNELS) % 2, -1, 1)
    changes = {
        "embed.weight": pairs,  # of signs: the norm's mean is 0, and all it makes is 1 or -1
        "blocks.0.norm1.weight": np.ones(CHANNELS, np.float32),
        "blocks.0.norm1.bias": np.zeros(CHANNELS, np.float32),
    }
    for tensor in model.graph.initializer:
        if tensor.name in changes:
            tensor.CopyFrom(numpy_helper.from_array(changes[tensor.name], tensor.name))
    feeds = [{"pixels": np.sign(PIXELS)}]
    found, without = (encoder_ranges(model, feeds, ("int8",), shift=shift) for shift in (True, False))
    assert "blocks.0.qkv.weight" not in found.shifts
    names = ("blocks.0.qkv.weight", "blocks.0.proj.weight")
    alike = [[each for each in ranges.ranges if each.matrix.name in names] for ranges in (found, without)]
    assert alike[0] == alike[1]
    assert len(alike[0]) == 2


def recipe(**shifts):
    matrices = {
        name: MatrixRecipe("int8", "max", 1.0, {}, shifts.get(name.split(".")[2], ""))
        for name in ("blocks.0.qkv.weight", "blocks.0.proj.weight", "blocks.0.fc1.weight")
    }
    return Recipe("glus-edge recipe", 1, "source", {}, {"image_encoder": matrices})


def test_shifts_are_kept_that_lowered_matrices_name():
    scales = {
        name: torch.ones(1)
        for name in ("image_encoder/blocks.0.qkv.weight", "image_encoder/other", "model.layers.0.mlp.input")
    }
    chosen = recipe(qkv="blocks.0.qkv.weight", proj="blocks.0.qkv.weight")
    assert list(used_scales(chosen, scales)) == ["image_encoder/blocks.0.qkv.weight"]
    assert list(used_scales(replace(chosen, awq=True), scales)) == [
        "image_encoder/blocks.0.qkv.weight",
        "model.layers.0.mlp.input",
    ]
    assert not used_scales(chosen.with_precisions({}), scales)


def test_all_that_read_a_norm_must_name_its_shift():
    groups = found_groups(block())
    shifts = {"blocks.0.qkv.weight": np.ones(CHANNELS, np.float32)}
    check_shifts("image_encoder", recipe(qkv="blocks.0.qkv.weight", proj="blocks.0.qkv.weight"), groups, shifts)
    with pytest.raises(InputError, match=r"blocks\.0\.proj\.weight\.shift: got '', expected 'blocks\.0\.qkv\.weight'"):
        check_shifts("image_encoder", recipe(qkv="blocks.0.qkv.weight"), groups, shifts)
