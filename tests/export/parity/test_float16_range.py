from pathlib import Path

import pytest
import torch
from torch import nn

from glus_edge.export.bundle_parity import overflow_notes
from glus_edge.export.parity import float16_range
from glus_edge.export.parity.float16_range import LayerPeak, LayerPeaks
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import GRAPHS
from tests.conftest import export_golden

pytestmark = pytest.mark.torch


class Block(nn.Module):
    """Large only in the middle: its output tells nothing."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        nn.init.constant_(self.up.weight, gain / 4)
        nn.init.constant_(self.down.weight, 0.25 / gain)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.down(self.up(x))
        return out


def watched(gain: float, sign: float = 1.0) -> LayerPeaks:
    peaks, block = LayerPeaks(), Block(gain)
    with peaks.recording({"image_encoder": nn.Sequential(Block(1.0), block)}), torch.inference_mode():
        for size in (1.0, 2.0, 0.5):
            nn.Sequential(Block(1.0), block)(torch.full((1, 4), sign * size))
    return peaks


def test_no_number_is_beyond_and_hides_nothing() -> None:
    peaks = LayerPeaks()
    for graph, values in (("clip_encoder", (float("nan"), 1.0)), ("image_encoder", (1.0, float("nan")))):
        for value in values:
            peaks.record(graph, f"layer of {value}", torch.tensor([value]))
    assert {graph: peak.layer for graph, peak in peaks.beyond().items()} == dict.fromkeys(
        ("clip_encoder", "image_encoder"), "layer of nan"
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_a_layer_beyond_half_precision_is_named_though_the_output_is_small(sign: float) -> None:
    beyond = watched(35_000.0, sign).beyond()
    assert beyond == {"image_encoder": LayerPeak("1.up", pytest.approx(70_000.0))}


def test_layers_within_half_precision_are_not() -> None:
    assert watched(32_000.0).beyond() == {}


def test_nothing_is_watched_any_more_behind_the_block() -> None:
    peaks, block = LayerPeaks(), Block(1.0)
    with peaks.recording({"image_encoder": block}):
        pass
    block(torch.full((1, 4), 1e6))
    assert peaks.beyond() == {}


def test_what_matrices_read_is_seen_of_each_graph_apart() -> None:
    peaks = LayerPeaks()
    peaks.record("language_model", "a", torch.tensor([1e5, 0.0]))
    peaks.record("language_model", "b", torch.tensor([-2e5]))
    peaks.record("clip_encoder", "c", torch.ones(3))
    assert peaks.beyond() == {"language_model": LayerPeak("b", 2e5)}


def test_an_overflow_is_told_and_noted() -> None:
    said: list[str] = []
    peaks = LayerPeaks()
    peaks.record("image_encoder", "trunk.blocks.3.mlp", torch.tensor([7e4]))
    notes = overflow_notes(peaks, said.append)
    (line,) = said
    assert line.startswith("warning: image_encoder: trunk.blocks.3.mlp reaches 7.0e+04 on the frames compared")
    assert list(notes) == ["overflow_of_image_encoder"]


def test_an_export_in_half_precision_looks_into_every_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float16_range, "LARGEST", 0.0)
    bundle = Bundle.open(export_golden(tmp_path / "bundle", precision="fp16"))
    noted = {name for name in bundle.manifest.provenance if name.startswith("overflow_of_")}
    assert noted == {f"overflow_of_{name}" for name in GRAPHS}
