"""What is counted in the compiler's log, and what the compiler really fuses of the small model."""

import pytest

from glus_edge.runtime import cli
from glus_edge.runtime.bundle.shipped import shipped_bundle
from glus_edge.runtime.bundle.signatures import GRAPHS, Limits
from glus_edge.runtime.engine_build.builder import EngineBuild, check_engines
from glus_edge.runtime.engine_build.fusion_report import GraphFusion, graph_fusion, report_lines
from glus_edge.runtime.onnx_rewrite.graph_builder import GraphBuilder
from glus_edge.runtime.tensorrt.library import load_tensorrt
from glus_edge.runtime.tensorrt.plan import BuildSettings


def model(softmaxes):
    graph = GraphBuilder()
    for number in range(softmaxes):
        graph.add("Softmax", [f"scores_{number}"])
    return graph.model("graph", [], [])


LOG = """Layers:
Name: __mye1_myl0_0, LayerType: shape_call, Inputs: []
Name: _gemm_mha_v2_myl0_5, LayerType: kgen, Inputs: [ { Name: a, Datatype: Half }]
Name: __myl_TranReshMove_myl0_6, LayerType: kgen, Inputs: [ { Name: b, Datatype: Half }]
Name: __myl_TranCastMul_myl0_7, LayerType: kgen, Inputs: [ { Name: c, Datatype: Half }]
Name: __myl_ReplCastMulCastFc_myl0_8, LayerType: runtime_fusion, Inputs: [ { Datatype: Half }], Constants: [ { Datatype: Int4 }]
Name: __myl_CastMulCast_myl0_9, LayerType: kgen, Inputs: [], Constants: [ { Name: w, Datatype: Int4 }]
Name: layer_0/query_U1_myl0_10, LayerType: gemm, Inputs: [ { Name: d, Datatype: Half }]
Name: exit^bb^wait^1_myl0_11, LayerType: wait, Inputs: []
"""


def test_layers_of_the_log_are_counted_by_what_they_do():
    fusion = graph_fusion(model(2), ["Engine generation completed.", LOG])
    assert fusion == GraphFusion(attentions=2, fused_attentions=1, packed=0, fused_packed=1, kernels=6, moving=1)
    (line,) = report_lines("language_model", fusion._replace(packed=2))
    assert (
        line.split(maxsplit=1)[1]
        == "1 of 2 attentions fused, 1 of 2 packed products fused; 6 kernels, 1 of them only move"
    )


def test_a_log_without_layers_counts_nothing():
    assert graph_fusion(model(1), ["nothing of interest"]) == GraphFusion(1, 0, 0, 0, 0, 0)


def test_a_report_of_engines_that_are_kept_is_refused(capsys):
    assert cli.main(["build", str(shipped_bundle()), "--report"]) == 2
    assert "--report: got it without --check-only, expected both" in capsys.readouterr().err


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    """Counts of the small model in half precision, its language model in int4, for compute capability 8.9."""
    from glus_edge.benchmarks.gpu.cases import random_cases
    from glus_edge.benchmarks.gpu.random_bundle import random_bundle
    from glus_edge.export.synthetic.sizes import SIZES

    bundle = random_bundle(SIZES["nano"], tmp_path_factory.mktemp("nano"))
    assert len(list(random_cases("nano", bundle, GRAPHS, workers=0))) == 6  # writes them
    tensorrt = load_tensorrt("tensorrt-rtx", details=True)
    build = EngineBuild(bundle, tensorrt, Limits(sentences=4), BuildSettings(compute_capability="8.9"))
    return {row.graph: row.fusion for row in check_engines(build, GRAPHS)}


# Graph: attentions, of which fused; packed products, of which fused; kernels and moving ones at most. Where a count of what
# is fused falls, or one of kernels rises, the graph that is exported has lost something, or the compiler has changed.
COUNTS = {
    "clip_encoder": (3, 3, 0, 0, 39, 1),
    "language_model": (4, 4, 29, 28, 71, 14),
    "image_encoder": (7, 7, 0, 0, 104, 9),
    "memory_attention": (4, 2, 0, 0, 43, 0),
    "mask_decoder": (7, 2, 0, 0, 120, 18),
    "memory_encoder": (0, 0, 0, 0, 29, 2),
}


@pytest.mark.torch
@pytest.mark.tensorrt_rtx
@pytest.mark.parametrize("graph", GRAPHS)
def test_what_is_fused_of_the_small_model_stays_fused(nano, graph):
    found, wanted = nano[graph], GraphFusion(*COUNTS[graph])
    assert (found.attentions, found.packed) == (wanted.attentions, wanted.packed)
    assert found.fused_attentions >= wanted.fused_attentions
    assert found.fused_packed >= wanted.fused_packed
    assert 0 < found.kernels <= wanted.kernels
    assert found.moving <= wanted.moving
