"""The golden runs of the reference, and what one of our runs computed, stage by stage."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from glus_edge.runtime.backends.onnxruntime_engine import OnnxRuntimeEngine

GOLDEN = Path(__file__).parents[1] / "data" / "golden_A"
META = json.loads((GOLDEN / "meta.json").read_text())
FRAMES = GOLDEN / "frames"


def expected(run):
    """The reference's tensors of one run, without their prefix."""
    prefix = f"run/{run}/"
    everything = load_file(GOLDEN / "expected.safetensors")
    return {name.removeprefix(prefix): value for name, value in everything.items() if name.startswith(prefix)}


def expected_masks(run):
    """bool [steps, H, W]."""
    packed = expected(run)["mask_packed"]
    height, width = META["frame_height"], META["frame_width"]
    return np.unpackbits(packed, axis=1)[:, : height * width].reshape(-1, height, width).astype(bool)


def sentence(run):
    """The expression the reference was given."""
    return META["runs"][run]["target_obj_passed"]


def record(monkeypatch):
    """From now on every output of every graph is copied: name -> list of arrays, in the order they were computed."""
    outputs = {}
    original = OnnxRuntimeEngine.run

    def run(engine, inputs, into):
        original(engine, inputs, into)
        for name, array in into.items():
            outputs.setdefault(name, []).append(np.array(array))

    monkeypatch.setattr(OnnxRuntimeEngine, "run", run)
    return outputs


def relative_l2(got, wanted):
    """|got - wanted| / |wanted|; NaN if either holds one, so that a comparison with a tolerance fails."""
    return float(np.linalg.norm(got.astype(np.float64) - wanted) / np.linalg.norm(wanted))


def iou(got, wanted):
    """Intersection over union of two masks; 1 if both are empty."""
    union = (got | wanted).sum()
    return 1.0 if union == 0 else float((got & wanted).sum() / union)
