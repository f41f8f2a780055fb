"""Building over the test doubles: what is kept, what is rebuilt, what the gate refuses."""

import ctypes
import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.shipped import shipped_bundle
from glus_edge.runtime.bundle.signatures import Limits
from glus_edge.runtime.cli import main
from glus_edge.runtime.commands import build as command
from glus_edge.runtime.engine_build.accuracy_gate import EngineDifference, GateSettings, closeness, mask_iou, refusal
from glus_edge.runtime.engine_build.builder import ALL_GRAPHS, AccuracyGate, EngineBuild, build_engines
from glus_edge.runtime.engine_build.float32_reference import record_reference
from glus_edge.runtime.engine_build.mask_check import REPORT, check_masks
from glus_edge.runtime.engine_build.probe_video import SENTENCE, ProbeVideo
from glus_edge.runtime.errors import BundleError, EngineError
from glus_edge.runtime.onnx_rewrite.encoder_blocks import BLOCKS, image_encoder_blocks
from glus_edge.runtime.pixels.preprocess_graph import PREPROCESS_GRAPHS
from glus_edge.runtime.tensorrt.plan import BuildSettings
from glus_edge.runtime.tensorrt.store import FOLDER, RECORD, EngineStore
from tests.runtime.cuda_double import CudaDouble
from tests.runtime.tensorrt_double import Builder, tensorrt_double

pytestmark = pytest.mark.torch  # the bundle is exported first

CLIP = ProbeVideo(3)


@pytest.fixture(scope="module")
def gate(golden_bundle_fp16):
    return AccuracyGate(record_reference(Bundle.open(golden_bundle_fp16), CLIP, [SENTENCE], 3), GateSettings())


@pytest.fixture
def bundle(golden_bundle_fp16, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(golden_bundle_fp16, folder, ignore=shutil.ignore_patterns(FOLDER))
    return folder


def a_build(folder, cuda, **settings):
    limits = settings.pop("limits", Limits())
    tensorrt = tensorrt_double(cuda, **settings)
    return EngineBuild(Bundle.open(folder), tensorrt, limits, BuildSettings())


def spoil(graph, change):
    """A distortion of one graph's float16 engines: `change(view)` alters their outputs in place."""

    def distort(path, views, _):
        if Path(path).name in (f"{graph}.onnx", f".{graph}.fp16.{os.getpid()}.onnx"):
            for address, shape, dtype in views.values():
                buffer = (ctypes.c_uint8 * (int(np.prod(shape)) * dtype.itemsize)).from_address(address)
                if dtype.kind == "f":
                    change(np.frombuffer(buffer, dtype))

    return distort


def test_what_passes_is_kept_and_reported(bundle, gate):
    cuda = CudaDouble()
    build = a_build(bundle, cuda)
    built = list(build_engines(build, cuda, gate))
    assert [row.record.key.graph for row in built] == list(ALL_GRAPHS)
    assert all(row.record.gate[0].cosine > 0.9999 for row in built)
    assert [row.record.precision for row in built] == ["fp16"] * 6 + ["fp32"] * 2
    report = check_masks(build, cuda, gate, CLIP, [SENTENCE])
    assert report.mask_iou >= 0.995
    written = json.loads((bundle / FOLDER / REPORT).read_text())
    assert {engine["key"]["graph"] for engine in written["engines"]} == set(ALL_GRAPHS)
    lines = list(command.build_lines(built))
    assert lines[0].startswith("clip_encoder      fp16")
    assert "cosine" in lines[0]
    # nothing of the comparison is left behind
    assert not list(bundle.glob(".*"))


def test_a_full_disk_is_one_line(monkeypatch, capsys):
    cuda = CudaDouble()
    monkeypatch.setattr(command, "load_tensorrt", lambda library, **_: tensorrt_double(cuda))
    monkeypatch.setattr(command, "open_cuda", lambda: cuda)

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device", "engines/x")

    monkeypatch.setattr(command, "build_engines", full)
    assert main(["build", str(shipped_bundle()), "--no-gate"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "engines/x: cannot be written (No space left on device), expected a bundle's folder" in said


def test_engines_that_are_there_are_not_built_again(bundle, gate):
    cuda = CudaDouble()
    assert not any(row.reused for row in build_engines(a_build(bundle, cuda), cuda, gate))
    assert all(row.reused for row in build_engines(a_build(bundle, cuda), cuda, gate))


def test_an_engine_without_a_gate_is_built_again_once_there_is_one(bundle, gate):
    cuda, graphs = CudaDouble(), ("memory_encoder",)
    list(build_engines(a_build(bundle, cuda), cuda, None, graphs))
    assert [row.reused for row in build_engines(a_build(bundle, cuda), cuda, gate, graphs)] == [False]


@pytest.mark.parametrize(
    "change", [{"version": "0.1"}, {"library": "tensorrt-rtx"}, {"limits": Limits(sentences=2)}], ids=str
)
def test_a_changed_version_library_or_profile_is_built_again(bundle, change):
    cuda, graphs = CudaDouble(), ("memory_encoder",)
    list(build_engines(a_build(bundle, cuda), cuda, None, graphs))
    assert [row.reused for row in build_engines(a_build(bundle, cuda, **change), cuda, None, graphs)] == [False]


@pytest.mark.parametrize(
    ("graph", "change"),
    [
        ("image_encoder", lambda values: np.multiply(values, 1.2, out=values)),
        ("memory_attention", lambda values: values.fill(np.nan)),
        ("mask_decoder", lambda values: np.negative(values, out=values)),
    ],
    ids=["a fifth too large", "NaN", "negated"],
)
def test_a_graph_that_is_wrong_in_half_precision_falls_back_alone(bundle, gate, graph, change):
    cuda = CudaDouble()
    build = a_build(bundle, cuda, distort=spoil(graph, change))
    for row in build_engines(build, cuda, gate):
        assert row.record.precision == ("fp32" if row.record.key.graph in (graph, *PREPROCESS_GRAPHS) else "fp16")
        if row.record.key.graph == graph:
            # the double, like ONNX Runtime's CPU kernels, has no bfloat16: that attempt is recorded as failed
            blocks = [f"fp16 with {block} in fp32" for block in BLOCKS] if graph == "image_encoder" else []
            assert [attempt.candidate.label for attempt in row.record.gate] == ["fp16", *blocks, "bf16", "fp32"]
            assert [attempt.accepted for attempt in row.record.gate] == [False] * (2 + len(blocks)) + [True]
            assert "expected" in row.record.gate[0].reason
            assert "not fp16" in "\n".join(command.build_lines([row]))
    assert check_masks(build, cuda, gate, CLIP, [SENTENCE]).mask_iou >= 0.995


def wrong_until_raised(source, blocks):
    """The image encoder's outputs are a tenth too large for each of these blocks that still computes in half."""
    nodes = image_encoder_blocks(source)
    sums = {node.name for node in onnx.load_from_string(source).graph.node if node.op_type in ("Add", "MatMul", "Conv")}
    watched = {b: min((nodes[b] & sums).difference(*(nodes[c] for c in nodes if c != b))) for b in blocks}

    def distort(path, views, graph):
        if "image_encoder" in path and ".fp32." not in path:
            made = {node.name: list(node.output) for node in onnx.load_from_string(graph).graph.node}
            half = sum(not made[node][0].endswith("/raised") for node in watched.values())
            spoil("image_encoder", lambda values: np.multiply(values, 1 + half / 10, out=values))(path, views, graph)

    return distort


@pytest.mark.parametrize("faulty", [("attention",), ("residual",), ("neck",), ("attention", "neck")], ids=str)
def test_only_the_named_blocks_that_are_wrong_are_raised(bundle, gate, faulty):
    cuda = CudaDouble()
    source = (bundle / "image_encoder.onnx").read_bytes()
    build = a_build(bundle, cuda, distort=wrong_until_raised(source, faulty))
    (row,) = build_engines(build, cuda, gate, ("image_encoder",))
    assert (row.record.precision, row.record.raised) == ("fp16", faulty)
    tried = [attempt.candidate.raised for attempt in row.record.gate]
    alone = [(block,) for block in BLOCKS[: BLOCKS.index(faulty[-1]) + 1]]
    assert tried == [(), *alone, faulty] if len(faulty) > 1 else [(), *alone]
    # kept, and printed
    (_, record), *_ = EngineStore(bundle).records()
    assert record == row.record
    lines = "\n".join(command.build_lines([row]))
    assert f"{', '.join(faulty)} in fp32; built" in lines
    assert "not fp16: " in lines
    assert not list(bundle.glob(".*.onnx"))


def test_a_graph_wrong_in_every_precision_stops_the_build(bundle, gate):
    def distort(path, views, graph):
        spoil("memory_encoder", lambda values: values.fill(0))(
            path.replace(f"/.memory_encoder.fp32.{os.getpid()}", "/memory_encoder"), views, graph
        )

    cuda = CudaDouble()
    with pytest.raises(
        EngineError, match=r"memory_encoder: no precision is right on this device \(fp16: .*; bf16: .*fp32"
    ):
        list(build_engines(a_build(bundle, cuda, distort=distort), cuda, gate, ("memory_encoder",)))
    assert EngineStore(bundle).records() == []


def test_engines_whose_masks_are_wrong_together_are_deleted(bundle, gate):
    cuda = CudaDouble()
    list(build_engines(a_build(bundle, cuda), cuda, gate))
    wrong = a_build(bundle, cuda, distort=spoil("mask_decoder", lambda values: np.negative(values, out=values)))
    with pytest.raises(EngineError, match=r"masks of the engines have IoU 0\.\d+ .* the engines were deleted"):
        check_masks(wrong, cuda, gate, CLIP, [SENTENCE])
    assert EngineStore(bundle).records() == []


def test_a_build_that_dies_while_writing_leaves_no_engine(bundle, monkeypatch):
    cuda = CudaDouble()

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("glus_edge.runtime.tensorrt.store.os.fsync", die)
    with pytest.raises(KeyboardInterrupt):
        list(build_engines(a_build(bundle, cuda), cuda, None, ("memory_encoder",)))
    assert list((bundle / FOLDER).glob("*/*.engine")) == []
    assert EngineStore(bundle).records() == []


def test_what_a_killed_build_left_is_cleared_away_and_a_running_ones_is_not(bundle):
    cuda = CudaDouble()
    dead, alive = (bundle / FOLDER / f".0123456789abcdef.{pid}.partial" for pid in (2**22 + 1, os.getppid()))
    for folder in (dead, alive):
        folder.mkdir(parents=True)
        (folder / "x.engine").write_bytes(b"half")
    list(build_engines(a_build(bundle, cuda), cuda, None, ("memory_encoder",)))
    assert not dead.exists()
    assert alive.exists()


def test_a_truncated_engine_is_not_taken_for_one(bundle):
    cuda, graphs = CudaDouble(), ("memory_encoder",)
    list(build_engines(a_build(bundle, cuda), cuda, None, graphs))
    (plan,) = bundle.glob(f"{FOLDER}/*/memory_encoder.engine")
    plan.write_bytes(plan.read_bytes()[:-1])
    assert [row.reused for row in build_engines(a_build(bundle, cuda), cuda, None, graphs)] == [False]


class ForgetfulCuda(CudaDouble):
    """Replays nothing of what was captured."""

    def launch(self, graph, stream):
        self.log.append(("launch", stream))


def test_an_engine_that_is_wrong_only_when_replayed_is_refused(bundle, gate):
    cuda = ForgetfulCuda()
    with pytest.raises(EngineError, match="memory_encoder: no precision is right"):
        list(build_engines(a_build(bundle, cuda), cuda, gate, ("memory_encoder",)))
    assert cuda.calls("launch")


def test_an_engine_whose_plan_was_changed_is_built_anew(bundle):
    cuda, graphs = CudaDouble(), ("memory_encoder",)
    list(build_engines(a_build(bundle, cuda), cuda, None, graphs))
    (plan,) = bundle.glob(f"{FOLDER}/*/memory_encoder.engine")
    content = bytearray(plan.read_bytes())
    content[len(content) // 2] ^= 1
    plan.write_bytes(content)
    (_, record), *_ = EngineStore(bundle).records()
    with pytest.raises(BundleError, match="got another plan than the one that was built"):
        EngineStore(bundle).find(
            Bundle.open(bundle), "memory_encoder", record.key.library, record.key.library_version, record.key.gpu
        )
    assert [row.reused for row in build_engines(a_build(bundle, cuda), cuda, None, graphs)] == [False]
    assert [row.reused for row in build_engines(a_build(bundle, cuda), cuda, None, graphs)] == [True]


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(file="../../memory_encoder.onnx"),
        lambda record: record.update(file="/etc/passwd"),
        lambda record: record["key"].update(gpu="another"),
        lambda record: record["key"].update(graph="mask_decoder"),
        lambda record: record["key"]["limits"].update(sentences=99),
    ],
)
def test_a_record_that_points_elsewhere_or_has_another_key_is_not_believed(bundle, change):
    cuda = CudaDouble()
    list(build_engines(a_build(bundle, cuda), cuda, None, ("memory_encoder",)))
    (path,) = bundle.glob(f"{FOLDER}/*/{RECORD}")
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(BundleError, match=r"engine.json: got the file .* and the key .*; delete "):
        EngineStore(bundle).records()


def test_a_compiler_without_memory_is_one_line_that_says_what_to_make_smaller(bundle, monkeypatch):
    def build_serialized_network(builder, network, config):
        builder.logger.log(1, "Requested size was 9000000000 bytes: out of memory")

    monkeypatch.setattr(Builder, "build_serialized_network", build_serialized_network)
    cuda = CudaDouble()
    with pytest.raises(EngineError, match=r"out of memory; free memory of the device, or build with smaller limits"):
        list(build_engines(a_build(bundle, cuda), cuda, None, ("memory_encoder",)))
    assert not list(bundle.glob("engines/*/engine.json"))


def test_nan_never_passes():
    nan = float("nan")
    assert closeness(np.array([np.nan, 1.0]), np.array([1.0, 1.0])) != (1.0, 0.0)
    assert refusal(EngineDifference(nan, nan, "x", next_token_agrees=True), GateSettings())
    assert refusal(EngineDifference(1.0, nan, "x", next_token_agrees=True), GateSettings())
    assert refusal(EngineDifference(1.0, 0.0, "x", next_token_agrees=False), GateSettings()) == "the next token differs"
    assert refusal(EngineDifference(1.0, 0.0, "x", next_token_agrees=True), GateSettings()) == ""


def test_closeness_and_iou_are_their_definitions():
    a, b = np.array([1.0, 2.0]), np.array([2.0, 1.0])
    assert closeness(a, b) == pytest.approx((0.8, np.sqrt(2 / 5)))
    assert closeness(a, a) == (1.0, 0.0)
    assert mask_iou(np.array([True, True, False]), np.array([False, True, True])) == pytest.approx(1 / 3)
    assert mask_iou(np.zeros(3, bool), np.zeros(3, bool)) == 1.0
