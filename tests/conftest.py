"""What tests of all packages share: bundles exported once per session from the golden checkpoint."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Speed is measured in benchmarks; a busy machine fails no test.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

GOLDEN = Path(__file__).parent / "data" / "golden_A"


@pytest.fixture(scope="session")
def golden_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden checkpoint in float32."""
    return export_golden(tmp_path_factory.mktemp("bundles") / "fp32")


@pytest.fixture(scope="session")
def golden_bundle_fp16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden checkpoint in float16."""
    return export_golden(tmp_path_factory.mktemp("bundles") / "fp16", precision="fp16")


@pytest.fixture(scope="session")
def golden_bundle_int4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden checkpoint in float32, its language model in 4 bits."""
    return export_golden(tmp_path_factory.mktemp("bundles") / "int4", language_weights="int4")


@pytest.fixture(scope="session")
def golden_bundle_reference_gamma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden checkpoint with the layer scale the reference's script ends up with."""
    return export_golden(tmp_path_factory.mktemp("bundles") / "gamma", reference_gamma=True)


def export_golden(output: Path, **options: object) -> Path:
    """Exports the golden checkpoint; a module traced before in this session is not traced again."""
    from glus_edge.export import export
    from glus_edge.export.options import ExportOptions

    settings: dict[str, object] = {
        "checkpoint": GOLDEN / "checkpoint",
        "vision_tower": GOLDEN / "clip",
        "sam2_config": str(GOLDEN / "sam2.yaml"),
        **options,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "write_graph", _write_graph_once(export.write_graph))
        export.export_bundle(ExportOptions(output=output, **settings), lambda line: None)  # type: ignore[arg-type]
    return output


_traced: dict[str, bytes] = {}


def _write_graph_once(write_graph: Any) -> Any:
    """Tracing takes seconds, and its bytes follow from the module alone (tests/export/test_trace.py)."""

    def write(name: str, module: Any, signature: Any, path: Path) -> None:
        digest = hashlib.sha256(f"{name} {signature}".encode())
        for key, tensor in module.state_dict().items():
            digest.update(key.encode() + tensor.numpy().tobytes())
        if digest.hexdigest() not in _traced:
            write_graph(name, module, signature, path)
            _traced[digest.hexdigest()] = path.read_bytes()
        path.write_bytes(_traced[digest.hexdigest()])

    return write
