"""The baseline computes what the reference computed; else a ratio against it would mean nothing."""

import numpy as np
import pytest

from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.errors import CheckpointError
from glus_edge.runtime.video.video import open_video
from tests.runtime import golden

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def source():
    from glus_edge.benchmarks.reference.reference import ReferenceSource

    return ReferenceSource(golden.GOLDEN / "checkpoint", golden.GOLDEN / "clip", str(golden.GOLDEN / "sam2.yaml"))


@pytest.mark.parametrize("run", ["exp0", "exp1"])
def test_its_masks_are_the_golden_ones(golden_bundle, source, run):
    from glus_edge.benchmarks.reference.reference import Reference

    reference = Reference(source, Bundle.open(golden_bundle))
    results = list(reference.segment(open_video(golden.FRAMES), golden.sentence(run)))
    assert [result.index for result in results] == list(range(14))
    for result, wanted in zip(results, golden.expected_masks(run), strict=True):
        assert result.segmented
        assert np.count_nonzero(result.mask != wanted) <= 5


def test_it_runs_with_the_gamma_the_bundle_was_exported_with(golden_bundle_reference_gamma, source):
    from glus_edge.benchmarks.reference.reference import Reference

    reference = Reference(source, Bundle.open(golden_bundle_reference_gamma))
    results = reference.segment(open_video(golden.FRAMES), golden.sentence("exp0"))
    for result, wanted in zip(results, golden.expected_masks("exp0_gammareset"), strict=True):
        assert np.count_nonzero(result.mask != wanted) <= 5


def test_another_models_checkpoint_is_refused(golden_bundle, source):
    import dataclasses

    from glus_edge.benchmarks.reference.reference import Reference

    bundle = Bundle.open(golden_bundle)
    model = dataclasses.replace(bundle.manifest.model, language_layers=7)
    other = Bundle(bundle.directory, dataclasses.replace(bundle.manifest, model=model))
    with pytest.raises(CheckpointError, match="give the checkpoint the bundle was exported from"):
        Reference(source, other)
