"""What tests of all packages share: bundles exported once per session from the golden checkpoint."""

from pathlib import Path

import pytest

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
    from glus_edge.export.export import export_bundle
    from glus_edge.export.options import ExportOptions

    settings: dict[str, object] = {
        "checkpoint": GOLDEN / "checkpoint",
        "vision_tower": GOLDEN / "clip",
        "sam2_config": str(GOLDEN / "sam2.yaml"),
        **options,
    }
    export_bundle(ExportOptions(output=output, **settings), lambda line: None)  # type: ignore[arg-type]
    return output
