import json
from pathlib import Path
from typing import Any

import torch

from glus_edge.training.model.language import LanguageSizes
from glus_edge.training.model.network import Glus, TowerSizes, build_tower
from glus_edge.training.model.score_head import OFFICIAL_PREFIX
from glus_edge.training.model.tokenizer import NanoTokenizer


def load_official(folder: Path) -> tuple[Glus, Any, TowerSizes, NanoTokenizer]:
    """What `save_official` wrote, less the head of [SCORE]."""
    config = json.loads((folder / "checkpoint" / "config.json").read_text())
    clip = json.loads((folder / "clip" / "config.json").read_text())
    language = LanguageSizes(
        vocabulary=config["vocab_size"],
        hidden=config["hidden_size"],
        intermediate=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        norm_epsilon=config["rms_norm_eps"],
    )
    sizes = TowerSizes(
        hidden=clip["hidden_size"],
        intermediate=clip["intermediate_size"],
        layers=clip["num_hidden_layers"],
        heads=clip["num_attention_heads"],
        image=clip["image_size"],
        patch=clip["patch_size"],
    )
    glus, tower = Glus(language, sizes), build_tower(sizes)
    state = torch.load(folder / "checkpoint" / "pytorch_model.bin", weights_only=True)
    beside = ("rotary_emb.inv_freq", OFFICIAL_PREFIX)
    glus.load_state_dict({k: v for k, v in state.items() if not any(part in k for part in beside)})
    tower.load_state_dict(torch.load(folder / "clip" / "pytorch_model.bin", weights_only=True))
    added = json.loads((folder / "checkpoint" / "added_tokens.json").read_text())
    model = (folder / "checkpoint" / "tokenizer.model").read_bytes()
    return glus, tower, sizes, NanoTokenizer(model, with_score="[SCORE]" in added)
