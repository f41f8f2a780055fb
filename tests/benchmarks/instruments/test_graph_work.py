"""Work counted from graphs, against the same work written down by hand."""

import numpy as np
import pytest

pytestmark = pytest.mark.torch

SIZES = {"sentences": 2, "new_tokens": 20, "prefix_tokens": 40, "past_tokens": 30, "all_tokens": 90}


def language_flops(width, mlp, layers, vocabulary, segment):
    """Two a multiplication and addition. Of the last layer only the last row is needed, keys and values apart."""
    sentences, new, rows = SIZES["sentences"], SIZES["new_tokens"], SIZES["all_tokens"]
    keys_and_values = 2 * sentences * new * 2 * width**2
    rest = sentences * (2 * (2 * width**2 + 3 * width * mlp) + 4 * rows * width)  # of one row
    heads = 2 * sentences * (width**2 + width * segment + width * vocabulary)
    return layers * keys_and_values + ((layers - 1) * new + 1) * rest + heads


def test_the_language_models_work_is_the_sum_on_paper(golden_bundle):
    from glus_edge.benchmarks.instruments.graph_work import GraphWork

    work = GraphWork(golden_bundle / "language_model.onnx").work(SIZES)
    assert work.flops == pytest.approx(language_flops(64, 176, 3, 451, 64), rel=2e-3)  # lm_head's rows may be padded
    parameters = 3 * (4 * 64**2 + 3 * 64 * 176 + 2 * 64) + 64 + 451 * 64 + 64 * 64 + 64 + 64 * 64 + 64
    assert work.weight_bytes == pytest.approx(4 * parameters, rel=0.03)


def test_four_bit_weights_are_the_same_work_and_fewer_bytes(golden_bundle, golden_bundle_int4):
    from glus_edge.benchmarks.instruments.graph_work import GraphWork

    whole, quantised = (
        GraphWork(bundle / "language_model.onnx").work(SIZES) for bundle in (golden_bundle, golden_bundle_int4)
    )
    assert quantised.flops == whole.flops
    assert quantised.weight_bytes < 0.4 * whole.weight_bytes


@pytest.mark.parametrize(
    "graph", ["clip_encoder", "image_encoder", "memory_attention", "mask_decoder", "memory_encoder"]
)
def test_every_graph_can_be_counted_and_weighs_what_its_file_does(golden_bundle, graph):
    from glus_edge.benchmarks.instruments.graph_work import GraphWork

    work = GraphWork(golden_bundle / f"{graph}.onnx").work({"images": 1, "sentences": 2, "slots": 7})
    size = (golden_bundle / f"{graph}.onnx").stat().st_size
    assert work.flops > 1e6
    assert 0.8 * size < work.weight_bytes <= size


def test_memory_attentions_work_grows_with_the_slots_by_its_cross_attention(golden_bundle):
    from glus_edge.benchmarks.instruments.graph_work import GraphWork

    graph = GraphWork(golden_bundle / "memory_attention.onnx")
    flops = [graph.work({"sentences": 1, "slots": slots}).flops for slots in (1, 2, 3)]
    # a slot: keys and values from 16 to 64 channels, two products with 64 queries; two layers
    assert np.diff(flops).tolist() == [2 * (2 * 2 * 64 * 16 * 64 + 2 * 2 * 64 * 64 * 64)] * 2


@pytest.mark.parametrize(
    ("operator", "shapes", "attributes", "flops"),
    [
        ("MatMul", [(5, 2, 3), (3, 4)], {}, 2 * 5 * 2 * 3 * 4),
        ("Gemm", [(2, 3), (3, 4)], {}, 2 * 2 * 3 * 4),
        ("Gemm", [(3, 2), (4, 3)], {"transA": 1, "transB": 1}, 2 * 2 * 3 * 4),
        ("Conv", [(1, 6, 8, 8), (4, 3, 3, 3)], {"group": 2, "pads": [1, 1, 1, 1]}, 2 * 4 * 64 * 3 * 9),
        ("ConvTranspose", [(1, 6, 8, 8), (6, 4, 2, 2)], {"strides": [2, 2]}, 2 * 6 * 64 * 4 * 4),
        ("Add", [(5, 5), (5, 5)], {}, 0),
    ],
)
def test_an_operators_work_is_its_definitions(tmp_path, operator, shapes, attributes, flops):
    import onnx
    from onnx import TensorProto, helper

    from glus_edge.benchmarks.instruments.graph_work import GraphWork

    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in zip("ab", shapes, strict=True)
    ]
    out = helper.make_tensor_value_info("c", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node(operator, ["a", "b"], ["c"], **attributes)], "g", tensors, [out])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), tmp_path / "g.onnx")
    assert GraphWork(tmp_path / "g.onnx").work({}).flops == flops
