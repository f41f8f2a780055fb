"""What tests of all packages share: bundles exported once per run from the golden checkpoint, by all workers together."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings
from xdist.scheduler.loadfile import LoadFileScheduling

from glus_edge.runtime.utils.atomic_file import write_file

if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # a worker for each core: before torch is imported, so that it starts no more threads
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Speed is measured in benchmarks; a busy machine fails no test.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

TRACED_GRAPHS = "GLUS_EDGE_TRACED_GRAPHS"  # environment variable: a folder
GOLDEN = Path(__file__).parent / "data" / "golden_A"


# Tests that wait for threads, sockets, signals or a clock: one worker runs them, one after another.
PATIENT = (
    "tests/runtime/serving/",
    "tests/runtime/commands/test_serve.py",
    "tests/runtime/commands/test_stream.py",
    "tests/runtime/utils/test_pipeline.py",
    "tests/runtime/video/test_live_source.py",
)


@pytest.fixture(scope="session", autouse=True)
def traced_graphs(shared_folder: Path) -> Iterator[None]:
    """Where `export_golden` keeps the graphs it has traced."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TRACED_GRAPHS, str(shared_folder / "traced"))
        yield


class OneWorkerAFile(LoadFileScheduling):
    """The tests of a file share its fixtures: one worker runs them. So it does all the patient ones."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "patient" if file.startswith(PATIENT) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneWorkerAFile:
    """What `--dist loadfile` does, with the groups of this suite."""
    return OneWorkerAFile(config, log)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run that all its workers see."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def made_once(path: Path, make: Callable[[Path], object]) -> Path:
    """`path`, made by the first worker that asks for it while the others wait. `make` writes it whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            make(path)
    return path


@pytest.fixture(scope="session")
def golden_bundle(shared_folder: Path) -> Path:
    """The golden checkpoint in float32."""
    return made_once(shared_folder / "bundles" / "fp32", export_golden)


@pytest.fixture(scope="session")
def golden_bundle_fp16(shared_folder: Path) -> Path:
    """The golden checkpoint in float16."""
    return made_once(shared_folder / "bundles" / "fp16", lambda path: export_golden(path, precision="fp16"))


@pytest.fixture(scope="session")
def golden_bundle_int4(shared_folder: Path) -> Path:
    """The golden checkpoint in float32, its language model in 4 bits."""
    return made_once(shared_folder / "bundles" / "int4", lambda path: export_golden(path, language_weights="int4"))


@pytest.fixture(scope="session")
def golden_bundle_reference_gamma(shared_folder: Path) -> Path:
    """The golden checkpoint with the layer scale the reference's script ends up with."""
    return made_once(shared_folder / "bundles" / "gamma", lambda path: export_golden(path, reference_gamma=True))


def export_golden(output: Path, **options: object) -> Path:
    """Exports the golden checkpoint; a module traced before in this run is not traced again."""
    from glus_edge.export import export, graphs
    from glus_edge.export.options import ExportOptions

    settings: dict[str, object] = {
        "checkpoint": GOLDEN / "checkpoint",
        "vision_tower": GOLDEN / "clip",
        "sam2_config": str(GOLDEN / "sam2.yaml"),
        **options,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "write_graph", _write_graph_once(graphs.write_graph))
        export.export_bundle(ExportOptions(output=output, **settings), lambda line: None)  # type: ignore[arg-type]
    return output


def _write_graph_once(write_graph: Any) -> Any:
    """Tracing takes seconds, and its bytes follow from the module alone (tests/export/vision/test_trace.py)."""

    def write(name: str, module: Any, signature: Any, path: Path) -> None:
        digest = hashlib.sha256(f"{name} {signature}".encode())
        for key, tensor in module.state_dict().items():
            digest.update(key.encode() + tensor.numpy().tobytes())

        def trace(kept: Path) -> None:
            write_graph(name, module, signature, path)
            write_file(kept, path.read_bytes())

        shutil.copyfile(made_once(Path(os.environ[TRACED_GRAPHS]) / digest.hexdigest(), trace), path)

    return write
