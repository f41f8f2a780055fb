from dataclasses import replace

import numpy as np
import pytest
import torch

from glus_edge.calibration.methods.awq import scale_of, search_scale
from glus_edge.calibration.statistics.language_layers import LayerSettings, language_layers
from glus_edge.calibration.statistics.row_statistics import RowStatistics
from glus_edge.export.language.scaled_weights import GROUPS, ScaledWeights, useful_scales
from glus_edge.export.parity.language_reference import LanguageReference
from glus_edge.export.parity.stored_weights import StoredWeights, rounded
from glus_edge.runtime.errors import InputError
from tests.export.tiny_llama import llama

pytestmark = pytest.mark.torch
FLOAT32 = np.dtype("float32")


def outlying_rows(count: int, channels: int) -> torch.Tensor:
    """Rows a few channels of which speak much louder, as a trained language model's do."""
    generator = torch.Generator().manual_seed(0)
    loudness = torch.ones(channels)
    loudness[:: channels // 4] = 20.0
    return torch.randn(count, channels, generator=generator) * loudness


def test_scaling_loud_channels_loses_less_than_rounding_alone():
    rows, matrix = outlying_rows(64, 64), torch.randn(32, 64, generator=torch.Generator().manual_seed(1))
    found = search_scale(rows, rows.abs().mean(0), [matrix], lambda m, _: rounded("w", m, "int4", FLOAT32))
    assert found.scale is not None
    assert found.power > 0
    rounding_alone = float((rows @ (rounded("w", matrix, "int4", FLOAT32) - matrix).T).square().sum())
    assert found.error < 0.8 * rounding_alone
    restored = rounded("w", matrix * found.scale, "int4", FLOAT32) / found.scale
    assert float((rows @ (restored - matrix).T).square().sum()) == pytest.approx(found.error, rel=1e-3)


def test_no_scaling_stays_a_candidate():
    rows, matrix = torch.randn(64, 64), torch.randn(8, 64)
    found = search_scale(rows, rows.abs().mean(0), [matrix], lambda m, _: m)
    assert (found.scale, found.power, found.error) == (None, 0, 0)


def test_a_scale_reaches_as_far_above_one_as_below():
    scale = scale_of(torch.tensor([0.0, 1.0, 100.0]), 0.5)
    assert (scale > 0).all()
    assert float(scale.max() * scale.min()) == pytest.approx(1.0)


@pytest.mark.parametrize("key_value_heads", [6, 2])
def test_folding_scales_in_changes_nothing_but_rounding(key_value_heads):
    _, dimensions, weights = llama(key_value_heads)
    generator = torch.Generator().manual_seed(0)
    scales = {}
    for layer in range(2):
        for group in GROUPS:
            if key_value_heads == 2 and group.name == "self_attn.output":
                continue
            channels = weights.tensor(f"model.layers.{layer}.{group.matrices[0]}").shape[1]
            scales[f"model.layers.{layer}.{group.name}"] = torch.rand(channels, generator=generator) * 4 + 0.3
    embeds = torch.randn(1, 9, 48, generator=generator)
    exact = LanguageReference(weights, dimensions).forward(embeds)
    folded = LanguageReference(ScaledWeights(weights, scales), dimensions).forward(embeds)
    assert torch.allclose(folded.hidden, exact.hidden, rtol=1e-3, atol=1e-4)
    assert not torch.equal(folded.hidden, exact.hidden)


def test_only_groups_with_an_int4_matrix_are_scaled():
    scales = {"model.layers.0.self_attn.input": torch.ones(1), "model.layers.0.mlp.output": torch.ones(1)}
    storages = {"model.layers.0.self_attn.k_proj.weight": "int4", "model.layers.0.mlp.down_proj.weight": "int8"}
    assert list(useful_scales(scales, storages)) == ["model.layers.0.self_attn.input"]


@pytest.mark.parametrize("key_value_heads", [6, 2])
def test_layers_lose_less_with_scales_and_least_in_eight_bits(key_value_heads):
    _, dimensions, weights = llama(key_value_heads)
    for layer in range(2):  # loud channels, as training makes them
        weights.tensors[f"model.layers.{layer}.input_layernorm.weight"][::12] *= 30
    prompts = [np.random.default_rng(n).standard_normal((20, 48)).astype(np.float32) for n in range(2)]
    results = list(language_layers(weights, dimensions, prompts, "float32", LayerSettings(sample_rows=16)))
    assert [result.layer for result in results] == [0, 1]
    for result in results:
        assert len(result.matrices) == 7
        assert result.outputs["int8"] < result.outputs["int4 awq"] < result.outputs["int4"]
        assert result.powers["self_attn.input"] > 0
        folds_output = any(name.endswith("self_attn.output") for name in result.scales)
        assert not (folds_output and key_value_heads == 2)
    known = language_layers(weights, dimensions, prompts, "float32", LayerSettings(sample_rows=16), frozenset({0}))
    (second,) = known
    assert second.outputs == results[1].outputs


def test_the_error_told_is_that_of_the_rounded_layer():
    _, dimensions, weights = llama(6)
    prompt = np.random.default_rng(0).standard_normal((12, 48)).astype(np.float32)
    one = replace(dimensions, language_layers=1)
    (result,) = language_layers(weights, one, [prompt], "float32", LayerSettings())
    before = torch.from_numpy(prompt)[None]
    exact = LanguageReference(weights, one).layer(before, 0)
    got = LanguageReference(StoredWeights(weights, "int8", "float32"), one).layer(before, 0)
    assert result.outputs["int8"] == pytest.approx(float((got - exact).norm() / (exact - before).norm()), rel=1e-4)


def test_inputs_that_are_not_finite_are_named():
    _, dimensions, weights = llama(6)
    weights.tensors["model.layers.1.input_layernorm.weight"][3] = float("nan")
    prompt = np.ones((5, 48), np.float32)
    with pytest.raises(
        InputError, match=r"model\.layers\.1\.self_attn\.q_proj\.weight: its inputs hold NaN or infinity"
    ):
        list(language_layers(weights, dimensions, [prompt], "float32", LayerSettings()))


def test_row_statistics_are_bounded_and_even():
    statistics = RowStatistics("w", 3, sample=16)
    rows = torch.arange(300.0).reshape(100, 3) - 150
    for part in rows.split(7):
        statistics.add(part)
    assert len(statistics.rows) <= 16
    assert torch.equal(statistics.rows, rows[:: 100 // 12][: len(statistics.rows)])
    assert torch.allclose(statistics.magnitude, rows.abs().mean(0))
    assert torch.equal(statistics.largest, rows.abs().amax(0))
