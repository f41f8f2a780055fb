import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.export.checkpoint.vision_tower import VisionTower
from glus_edge.export.parity.portability import portability_findings
from glus_edge.export.vision import trace
from glus_edge.export.vision.layers import in_dtype
from glus_edge.export.vision.memory_encoder import MemoryEncoder
from glus_edge.export.vision.modules import load_modules
from glus_edge.export.vision.trace import trace_module, write_graph
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import GRAPHS, signatures
from glus_edge.runtime.errors import CheckpointError
from tests.export import checkpoint_files as files

pytestmark = pytest.mark.torch

VISION = [name for name in GRAPHS if name != "language_model"]


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def bundle(request):
    fixture = {"fp32": "golden_bundle", "fp16": "golden_bundle_fp16"}[request.param]
    return Bundle.open(request.getfixturevalue(fixture))


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graphs_tensors_are_exactly_its_signatures(bundle, name):
    graph = onnx.load(bundle.graph_path(name), load_external_data=False).graph
    signature = bundle.signature(name)
    for values, expected in ((graph.input, signature.inputs), (graph.output, signature.outputs)):
        assert [value.name for value in values] == [tensor.name for tensor in expected]
        for value, tensor in zip(values, expected, strict=True):
            kind = value.type.tensor_type
            assert onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type) == tensor.dtype
            assert tuple(size.dim_param or size.dim_value for size in kind.shape.dim) == tensor.shape


@pytest.mark.parametrize("name", VISION)
@pytest.mark.parametrize("length", [1, 2, 5])
def test_every_varying_dimension_really_varies(bundle, name, length):
    signature = bundle.signature(name)
    random = np.random.default_rng(0)
    inputs = {
        tensor.name: random.standard_normal(
            [min(length, signature.axes[size].maximum) if isinstance(size, str) else size for size in tensor.shape]
        ).astype(tensor.dtype)
        for tensor in signature.inputs
    }
    session = onnxruntime.InferenceSession(str(bundle.graph_path(name)), providers=["CPUExecutionProvider"])
    outputs = session.run(None, inputs)
    for tensor, value in zip(signature.outputs, outputs, strict=True):
        shape = [min(length, signature.axes[size].maximum) if isinstance(size, str) else size for size in tensor.shape]
        assert list(value.shape) == shape
        assert np.isfinite(value).all()


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_are_portable(bundle, name):
    assert portability_findings(bundle.graph_path(name)) == []


@pytest.mark.parametrize("name", VISION)
def test_norms_and_softmax_stay_in_float32(bundle, name):
    model = onnx.shape_inference.infer_shapes(onnx.load(bundle.graph_path(name)))
    types = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.value_info, *model.graph.output)}
    found = [node for node in model.graph.node if node.op_type in ("Softmax", "LayerNormalization")]
    assert found
    assert {types[node.output[0]] for node in found} == {onnx.TensorProto.FLOAT}


@pytest.mark.parametrize("name", VISION)
def test_a_graph_says_nothing_of_the_machine_that_made_it(bundle, name):
    content = bundle.graph_path(name).read_bytes()
    assert b".py" not in content
    assert str(files.GOLDEN.parents[2]).encode() not in content


def test_constants_do_not_bloat_a_graph(bundle):
    modules = golden_modules()
    bytes_each = 4 if bundle.manifest.graphs["clip_encoder"].compute == "float32" else 2
    for name, module in modules.graphs().items():
        weights = sum(parameter.numel() for parameter in module.parameters())
        tables = {buffer.data_ptr(): buffer.numel() for buffer in module.buffers()}
        # Tables may be float32 in a half-precision graph; 160 bytes a node for its name and connections.
        nodes = len(onnx.load(bundle.graph_path(name)).graph.node)
        allowed = weights * bytes_each + sum(tables.values()) * 4 + 200 * nodes
        assert bundle.graph_path(name).stat().st_size <= allowed


def golden_modules():
    checkpoint = Checkpoint.open(files.GOLDEN / "checkpoint")
    return load_modules(checkpoint, VisionTower.open(files.GOLDEN / "clip"), str(files.SAM2_YAML))


def test_the_same_module_gives_the_same_bytes_twice(golden_bundle, tmp_path):
    modules = golden_modules()
    signature = signatures(modules.dimensions)["memory_encoder"]
    write_graph("memory_encoder", modules.memory_encoder, signature, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (golden_bundle / "memory_encoder.onnx").read_bytes()


def test_what_is_written_weight_by_weight_is_the_whole_model(tmp_path):
    modules = golden_modules()
    signature = signatures(modules.dimensions)["memory_encoder"]
    write_graph("memory_encoder", modules.memory_encoder, signature, tmp_path / "graph.onnx")
    assert onnx.load(tmp_path / "graph.onnx") == trace_module("memory_encoder", modules.memory_encoder, signature)


def test_a_graph_beyond_what_one_file_holds_is_refused_before_it_is_written(tmp_path, monkeypatch):
    weight = onnx.numpy_helper.from_array(np.zeros(1000, np.float32), "w")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["w"], ["y"])], "g", [], [], [weight])
    monkeypatch.setattr(trace, "trace_module", lambda name, module, signature: onnx.helper.make_model(graph))
    monkeypatch.setattr(trace, "LARGEST_BYTES", 4000)
    with pytest.raises(CheckpointError, match=r"clip_encoder: got 0\.0 GB of weights, expected at most"):
        write_graph("clip_encoder", torch.nn.Identity(), None, tmp_path / "clip_encoder.onnx")
    assert not any(tmp_path.iterdir())


def test_half_precision_keeps_the_norms_parameters_in_float32():
    modules = golden_modules()
    half = in_dtype(modules.memory_encoder, torch.float16)
    assert isinstance(half, MemoryEncoder)
    assert half.fuser.layers[0].norm.weight.dtype == torch.float32
    assert half.fuser.layers[0].pwconv1.weight.dtype == torch.float16
    assert modules.memory_encoder.fuser.layers[0].pwconv1.weight.dtype == torch.float32


def test_a_module_whose_sizes_do_not_fit_is_one_line(tmp_path):
    signature = signatures(golden_modules().dimensions)["clip_encoder"]
    with pytest.raises(CheckpointError, match=r"clip_encoder: cannot be traced \(") as caught:
        write_graph("clip_encoder", torch.nn.Conv2d(5, 4, 3), signature, tmp_path / "clip_encoder.onnx")
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())
