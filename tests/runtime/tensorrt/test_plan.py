"""Every graph of every precision through NVIDIA's own parser and compiler, which need no GPU."""

import signal
import threading
import time
import weakref

import pytest

from glus_edge.runtime import cli
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.shipped import shipped_bundle
from glus_edge.runtime.bundle.signatures import Limits, signatures
from glus_edge.runtime.engine_build.builder import ALL_GRAPHS, EngineBuild, check_engines
from glus_edge.runtime.errors import EngineError
from glus_edge.runtime.tensorrt.build_progress import BuildMonitor, run_cancellable
from glus_edge.runtime.tensorrt.library import load_tensorrt
from glus_edge.runtime.tensorrt.plan import BuildSettings, plan_from_onnx
from tests.runtime.golden import GOLDEN

pytestmark = [pytest.mark.torch, pytest.mark.tensorrt_rtx]

TARGET = BuildSettings(compute_capability="8.9")


@pytest.fixture(scope="module")
def tensorrt():
    return load_tensorrt("tensorrt-rtx")


@pytest.mark.parametrize("bundle", ["golden_bundle", "golden_bundle_fp16", "golden_bundle_int4"])
def test_all_graphs_parse_and_compile(request, tensorrt, bundle):
    build = EngineBuild(Bundle.open(request.getfixturevalue(bundle)), tensorrt, Limits(), TARGET)
    rows = list(check_engines(build))
    assert [row.graph for row in rows] == list(ALL_GRAPHS)
    assert all(row.plan_bytes > 100_000 and row.layers > 10 for row in rows)
    assert rows[0].precision == ("fp16" if "fp16" in bundle else "fp32")


def test_all_graphs_of_the_shipped_bundle_parse_and_compile(tensorrt):
    build = EngineBuild(Bundle.open(shipped_bundle()), tensorrt, Limits(), TARGET)
    rows = list(check_engines(build))
    assert [row.graph for row in rows] == list(ALL_GRAPHS)
    assert all(row.precision == "fp32, int8 weights" for row in rows[:6])


@pytest.fixture(scope="module")
def nano_cases(tmp_path_factory):
    from glus_edge.benchmarks.gpu.cases import random_cases
    from glus_edge.benchmarks.gpu.random_bundle import random_bundle
    from glus_edge.export.synthetic.sizes import SIZES
    from glus_edge.runtime.bundle.signatures import GRAPHS

    bundle = random_bundle(SIZES["nano"], tmp_path_factory.mktemp("nano"))
    return {case.graph: case for case in random_cases("nano", bundle, GRAPHS, workers=0)}


@pytest.mark.parametrize(
    "graph", ["clip_encoder", "language_model", "image_encoder", "memory_attention", "mask_decoder", "memory_encoder"]
)
def test_the_small_models_graphs_compile_in_half_precision_with_an_int4_language_model(tensorrt, nano_cases, graph):
    case = nano_cases[graph]
    assert case.precision == ("fp16, int4" if graph == "language_model" else "fp16")
    assert plan_from_onnx(tensorrt, graph, case.path, case.signature, TARGET).layers > 100


def test_the_int4_language_model_compiles_in_half_precision(tensorrt, golden_bundle, tmp_path):
    from glus_edge.export.checkpoint.checkpoint import Checkpoint
    from glus_edge.export.language.graph import write_language_model

    model, path = Bundle.open(golden_bundle).manifest.model, tmp_path / "language_model.onnx"
    write_language_model(Checkpoint.open(GOLDEN / "checkpoint"), model, path, "float16", "int4")
    signature = signatures(model, "float16")["language_model"]
    assert plan_from_onnx(tensorrt, "language_model", path, signature, TARGET).layers > 100


@pytest.mark.parametrize("capability", ["8.6", "12.0"])
def test_other_gpus_can_be_compiled_for(tensorrt, golden_bundle, capability):
    build = EngineBuild(Bundle.open(golden_bundle), tensorrt, Limits(), BuildSettings(compute_capability=capability))
    assert len(list(check_engines(build, ("memory_encoder",)))) == 1


def test_float32_is_refused_for_turing_with_the_compilers_reason(tensorrt, golden_bundle):
    build = EngineBuild(Bundle.open(golden_bundle), tensorrt, Limits(), BuildSettings(compute_capability="7.5"))
    with pytest.raises(EngineError, match=r"FP32 GEMM is not supported"):
        list(check_engines(build, ("memory_encoder",)))


def test_a_gpu_it_cannot_target_is_one_line(capsys, golden_bundle):
    arguments = [
        "build",
        str(golden_bundle),
        "--backend",
        "tensorrt-rtx",
        "--check-only",
        "--compute-capability",
        "8.7",
    ]
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "8.7" in error
    assert "SM89" in error


def test_check_only_prints_a_row_a_graph_and_leaves_nothing(capsys, golden_bundle):
    assert (
        cli.main(["build", str(golden_bundle), "--backend", "tensorrt-rtx", "--check-only", "--graph", "clip_encoder"])
        == 0
    )
    out = capsys.readouterr().out
    assert "clip_encoder" in out
    assert "1 graphs parse and compile" in out
    assert not (golden_bundle / "engines").exists()


def test_a_graph_the_parser_refuses_names_its_node(tensorrt, golden_bundle, tmp_path):
    import onnx

    model = onnx.load(golden_bundle / "memory_encoder.onnx")
    node = model.graph.node[3]
    node.op_type, name = "Det", node.name
    path = tmp_path / "broken.onnx"
    onnx.save(model, path)
    signature = Bundle.open(golden_bundle).signature("memory_encoder")
    with pytest.raises(EngineError) as caught:
        plan_from_onnx(tensorrt, "memory_encoder", path, signature, TARGET)
    assert name in str(caught.value)
    assert "Det" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_graph_whose_tensors_are_not_the_signatures_is_refused(tensorrt, golden_bundle):
    bundle = Bundle.open(golden_bundle)
    with pytest.raises(EngineError, match=r"got None, expected float32"):
        plan_from_onnx(tensorrt, "x", bundle.graph_path("clip_encoder"), bundle.signature("memory_encoder"), TARGET)


def test_a_build_reports_its_steps_and_stops_when_told(tensorrt, golden_bundle):
    bundle, seen = Bundle.open(golden_bundle), []
    monitor = BuildMonitor(lambda *step: seen.append(step))
    arguments = (tensorrt, "memory_encoder", bundle.graph_path("memory_encoder"), bundle.signature("memory_encoder"))
    plan_from_onnx(*arguments, TARGET, monitor=monitor)
    assert monitor.steps_done > 10
    assert all(0 <= done <= steps for _, done, steps in seen)
    stopped = BuildMonitor()
    stopped.cancelled = True
    with pytest.raises(EngineError, match="cannot compile"):
        plan_from_onnx(*arguments, TARGET, monitor=stopped)
    assert stopped.steps_done < monitor.steps_done


@pytest.mark.usefixtures("heeded_ctrl_c")
def test_ctrl_c_waits_for_the_compiler_to_stop():
    monitor, stopped = BuildMonitor(), threading.Event()

    def build():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        while monitor.step("compiling", 0):
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # an impatient one
        time.sleep(0.3)
        stopped.set()

    with pytest.raises(KeyboardInterrupt):
        run_cancellable(build, monitor)
    assert stopped.is_set()


def test_the_compiler_and_its_objects_are_in_the_thread_that_ctrl_c_does_not_reach():
    class Compiler:
        """Stands for TensorRT's builder."""

    held, threads = [], []

    def build():
        compiler = Compiler()
        held.append(weakref.ref(compiler))
        threads.append(threading.current_thread())
        raise EngineError(f"cannot compile with {compiler}")

    with pytest.raises(EngineError, match="cannot compile") as caught:
        run_cancellable(build, BuildMonitor())
    assert caught.value.__traceback__ is not None
    assert held[0]() is None
    assert threads[0] is not threading.main_thread()


def test_a_failure_in_the_compilers_thread_reaches_the_caller():
    def build():
        raise EngineError("no such kernel")

    with pytest.raises(EngineError, match="no such kernel"):
        run_cancellable(build, BuildMonitor())
