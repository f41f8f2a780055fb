"""The torch modules against stock SAM 2 where the golden model does not reach: other sizes, windows that need padding,
several rotary heads, and their graphs against the modules.
"""

import copy

import numpy as np
import pytest
import torch
import yaml

from glus_edge.export.checkpoint.sam2_config import sam2_config
from glus_edge.export.parity.comparison import ParityCase, measure_parity
from glus_edge.export.vision.image_encoder import ImageEncoder
from glus_edge.export.vision.mask_decoder import MaskDecoder
from glus_edge.export.vision.memory_attention import MemoryAttention
from glus_edge.export.vision.memory_encoder import MemoryEncoder
from glus_edge.export.vision.sam2_model import build_sam2
from glus_edge.export.vision.trace import write_graph
from glus_edge.runtime.bundle.signatures import ModelDimensions, signatures
from tests.export import checkpoint_files as files

pytestmark = pytest.mark.torch

SIZE, WIDTH, MEMORY = 160, 96, 24
GRID = SIZE // 16


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """Stock SAM 2 of another shape, random weights."""
    model = yaml.safe_load(files.SAM2_YAML.read_text())["model"]
    trunk = {
        "embed_dim": 24,
        "num_heads": 2,
        "stages": [1, 1, 3, 2],
        "global_att_blocks": [3],
        "window_spec": [8, 4, 7, 4],
    }
    model["image_encoder"]["trunk"] |= trunk
    model["image_encoder"]["neck"] |= {"d_model": WIDTH, "backbone_channel_list": [192, 96, 48, 24]}
    model["image_encoder"]["neck"]["position_encoding"]["num_pos_feats"] = WIDTH
    attention = model["memory_attention"]
    attention["d_model"] = attention["layer"]["d_model"] = WIDTH
    for part in ("self_attention", "cross_attention"):
        attention["layer"][part] |= {"embedding_dim": WIDTH, "num_heads": 2}
    attention["layer"]["cross_attention"]["kv_in_dim"] = MEMORY
    encoder = model["memory_encoder"]
    encoder |= {"out_dim": MEMORY, "in_dim": WIDTH}
    encoder["position_encoding"]["num_pos_feats"] = MEMORY
    encoder["mask_downsampler"]["embed_dim"] = encoder["fuser"]["layer"]["dim"] = WIDTH
    model["image_size"] = SIZE
    path = tmp_path_factory.mktemp("sam2") / "other.yaml"
    path.write_text(yaml.safe_dump({"model": model}))
    torch.manual_seed(0)
    sam2 = build_sam2(sam2_config(str(path))).requires_grad_(False)
    for name, parameter in sam2.named_parameters():
        if name.endswith("gamma") or "pos_embed" in name or "no_mem_embed" in name:
            parameter.normal_(0, 0.5)
    return sam2


@pytest.fixture
def sam2(stock):
    """A copy to take apart."""
    return copy.deepcopy(stock)


@pytest.fixture(scope="module")
def signed():
    dimensions = ModelDimensions(56, 4, 64, 1, 4, 4, 10, 64, SIZE, WIDTH, MEMORY, WIDTH // 8, WIDTH // 4)
    return signatures(dimensions)


def close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=2e-5)


def check_graph(name, module, signed, tmp_path, **inputs):
    """The traced graph gives what the module gives; returns the module's outputs."""
    with torch.inference_mode():
        outputs = module(*inputs.values())
    outputs = (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)
    names = [tensor.name for tensor in signed[name].outputs]
    expected = {key: value.numpy() for key, value in zip(names, outputs, strict=True)}
    case = ParityCase({key: value.numpy() for key, value in inputs.items()}, expected)
    write_graph(name, module, signed[name], tmp_path / "graph.onnx")
    measure_parity(name, tmp_path / "graph.onnx", signed[name], "float32", [case])
    return outputs


def test_image_encoder(stock, sam2, signed, tmp_path):
    pixels = torch.randn(1, 3, SIZE, SIZE)
    maps = check_graph("image_encoder", ImageEncoder(sam2), signed, tmp_path, sam_pixels=pixels)
    with torch.inference_mode():
        expected = stock.forward_image(pixels)["backbone_fpn"]
    for got, wanted in zip(maps, expected, strict=False):
        close(got, wanted)
    close(maps[3], expected[2] + stock.no_mem_embed.reshape(1, -1, 1, 1))


@pytest.mark.parametrize(("slots", "sentences"), [(1, 1), (3, 2)])
def test_memory_attention(stock, sam2, signed, tmp_path, slots, sentences):
    features, memory = torch.randn(1, WIDTH, GRID, GRID), torch.randn(slots, sentences, MEMORY, GRID, GRID)
    (got,) = check_graph(
        "memory_attention", MemoryAttention(sam2), signed, tmp_path, features_stride_16=features, memory=memory
    )
    encode = stock.image_encoder.neck.position_encoding
    tokens = memory.flatten(3).permute(0, 3, 1, 2).flatten(0, 1)  # [slots * N, B, C], as SAM 2 concatenates
    with torch.inference_mode():
        positions = stock.memory_encoder.position_encoding(memory[0]).flatten(2).permute(2, 0, 1)
        expected = stock.memory_attention(
            curr=features.expand(sentences, -1, -1, -1).flatten(2).permute(2, 0, 1),
            memory=tokens,
            curr_pos=encode(features).expand(sentences, -1, -1, -1).flatten(2).permute(2, 0, 1),
            memory_pos=positions.repeat(slots, 1, 1),
        )
    close(got, expected.permute(1, 2, 0).reshape(sentences, WIDTH, GRID, GRID))


def test_mask_decoder(stock, sam2, signed, tmp_path):
    stock.sam_mask_decoder.dynamic_multimask_via_stability = True
    features, prompt = torch.randn(3, WIDTH, GRID, GRID), torch.randn(3, WIDTH)
    stride_4 = torch.randn(1, WIDTH // 8, 4 * GRID, 4 * GRID)
    stride_8 = torch.randn(1, WIDTH // 4, 2 * GRID, 2 * GRID)
    got = check_graph(
        "mask_decoder",
        MaskDecoder(sam2),
        signed,
        tmp_path,
        conditioned_features=features,
        features_stride_8=stride_8,
        features_stride_4=stride_4,
        segment_embedding=prompt,
    )
    no_mask = stock.sam_prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(3, -1, GRID, GRID)
    with torch.inference_mode():
        masks, ious, _, score = stock.sam_mask_decoder(
            image_embeddings=features,
            image_pe=stock.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=prompt[:, None],
            dense_prompt_embeddings=no_mask,
            multimask_output=False,
            repeat_image=False,
            high_res_features=[stride_4, stride_8],
        )
    close(got[0], masks)
    close(got[1], ious[:, 0])
    close(got[5], score[:, 0])


def test_memory_encoder(stock, sam2, signed, tmp_path):
    features, logits = torch.randn(2, WIDTH, GRID, GRID), 5 * torch.randn(2, 1, SIZE // 4, SIZE // 4)
    (got,) = check_graph(
        "memory_encoder", MemoryEncoder(sam2), signed, tmp_path, conditioned_features=features, mask_logits=logits
    )
    mask = torch.nn.functional.interpolate(logits, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    with torch.inference_mode():
        expected = stock.memory_encoder(features, mask.sigmoid() * 20 - 10, skip_mask_sigmoid=True)["vision_features"]
    close(got, expected)
    assert np.isfinite(got.numpy()).all()
