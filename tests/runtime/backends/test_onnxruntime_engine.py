"""Session settings follow the manifest's word on a graph's weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from glus_edge.runtime.backends.onnxruntime_engine import OnnxRuntimeBackend
from glus_edge.runtime.backends.onnxruntime_session import OnnxRuntimeOptions
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.segmenter import Segmenter
from tests.runtime.golden import FRAMES, GOLDEN, record, relative_l2, sentence

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def int8_bundle(golden_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The golden bundle with its language model in 8 bits."""
    from glus_edge.export.checkpoint.checkpoint import Checkpoint
    from glus_edge.export.language.graph import write_language_model

    whole, folder = Bundle.open(golden_bundle), tmp_path_factory.mktemp("int8")
    for path in golden_bundle.iterdir():
        if path.is_file() and not path.name.startswith("language_model"):
            (folder / path.name).symlink_to(path)
    write_language_model(
        Checkpoint.open(GOLDEN / "checkpoint"), whole.manifest.model, folder / "language_model.onnx", "float32", "int8"
    )
    language = replace(whole.manifest.graphs["language_model"], weights="int8")
    graphs = {**whole.manifest.graphs, "language_model": language}
    return Bundle(folder, replace(whole.manifest, graphs=graphs))


def embeddings(bundle: Bundle, options: OnnxRuntimeOptions) -> np.ndarray:
    """[frames, segment_width] of the golden clip's first frames."""
    with pytest.MonkeyPatch.context() as patch:
        outputs = record(patch)
        with Segmenter(bundle, OnnxRuntimeBackend(bundle, options)) as segmenter:
            results = iter(segmenter.segment(FRAMES, [sentence("exp0")]))
            for _ in range(4):
                next(results)
    return np.concatenate(outputs["segment_embedding"])


def test_int8_products_agree_at_both_accuracies(int8_bundle: Bundle) -> None:
    exact = embeddings(int8_bundle, OnnxRuntimeOptions(int8_accuracy=1))
    fast = embeddings(int8_bundle, OnnxRuntimeOptions())
    assert 0 < relative_l2(fast, exact) < 3e-2
    again = embeddings(int8_bundle, OnnxRuntimeOptions(int8_accuracy=1, int4_accuracy=4))
    assert np.array_equal(again, exact)  # what is meant for int4 leaves int8 alone


@pytest.mark.parametrize(
    ("fixture", "level"), [("int8_bundle", "4"), ("golden_bundle", "1"), ("golden_bundle_int4", "1")]
)
def test_accuracy_and_block_are_set_for_the_weights_at_hand(
    fixture: str, level: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = request.getfixturevalue(fixture)
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    entries: dict[str, str] = {}
    make = onnxruntime.InferenceSession

    def spy(path: str, options: onnxruntime.SessionOptions, **rest: object) -> object:
        for name in ("accuracy_level", "block_size"):
            entries[name] = options.get_session_config_entry(f"session.qdq_matmulnbits_{name}")
        return make(path, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    OnnxRuntimeBackend(bundle).open("language_model").close()
    assert entries == {"accuracy_level": level, "block_size": "128"}
