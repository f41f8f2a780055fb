"""Moves a run's state: to the official folders for export, to a few small half-precision files and back, to a new run."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from glus_edge.runtime.errors import InputError
from glus_edge.training.checkpoint import save_official
from glus_edge.training.learner import Learner, build_learner
from glus_edge.training.settings import TrainingSettings
from glus_edge.training.state_file import BEGINNING, BEST, NEWEST, load_model, load_state, readable_state, save_state

LARGEST_FILE_BYTES = 4_000_000
PLACE = "place.json"
STATES = {"best": BEST, "newest": NEWEST}


def _modules(learner: Learner) -> dict[str, Any]:
    return {"glus": learner.glus, "tower": learner.tower, "heads": learner.heads, "score": learner.score}


def pack(learner: Learner, place: dict[str, Any], folder: Path) -> None:
    """Writes weights as float16 in files of at most 4 MB, and where the run stands."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("weights-*.safetensors"):
        old.unlink()
    part: dict[str, Tensor] = {}
    number = size = 0
    for prefix, module in _modules(learner).items():
        for name, tensor in module.state_dict().items():
            half = tensor.detach().to(torch.float16 if tensor.is_floating_point() else tensor.dtype).contiguous()
            cost = half.numel() * half.element_size() + 200
            if part and size + cost > LARGEST_FILE_BYTES:
                save_file(part, folder / f"weights-{number:02d}.safetensors")
                part, size, number = {}, 0, number + 1
            part[f"{prefix}/{name}"] = half
            size += cost
    save_file(part, folder / f"weights-{number:02d}.safetensors")
    (folder / PLACE).write_text(json.dumps(place, indent=2, sort_keys=True) + "\n")


def unpack(folder: Path, learner: Learner) -> dict[str, Any]:
    """Loads what `pack` wrote into the learner; returns where the run stood. InputError: it is not that."""
    try:
        return _unpack(folder, learner)
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}), expected what `pack` writes") from error
    except (RuntimeError, ValueError, LookupError, SafetensorError) as error:
        raise InputError(f"{folder}: got {repr(error)[:120]}, expected what `pack` writes of this model") from error


def _unpack(folder: Path, learner: Learner) -> dict[str, Any]:
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("weights-*.safetensors")):
        tensors.update(load_file(path))
    for prefix, module in _modules(learner).items():
        start = f"{prefix}/"
        own = {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}
        if not own and module is learner.score:  # packed before there was one
            continue
        module.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in own.items()})
    place: dict[str, Any] = json.loads((folder / PLACE).read_text())
    return place


def open_state(path: Path, settings: TrainingSettings, *, training_heads: bool) -> tuple[Learner, dict[str, Any]]:
    """A run's learner and where it stood; `training_heads`: with the heads that only training has.

    InputError: there is no such state, or it is of another model.
    """
    learner = build_learner(settings)
    with readable_state(path):
        state = (load_state if training_heads else load_model)(path, learner)
        return learner, state["place"]


def write_official(learner: Learner, folder: Path) -> None:
    """The official folders of a learner."""
    save_official(folder, learner.glus, learner.tower, learner.sizes, learner.tokenizer, learner.score)


def begin_run(learner: Learner, folder: Path, place: dict[str, Any] | None = None) -> None:
    """Writes a run that `train` goes on with, from these weights; through all its stages where no place is given.

    InputError: the folder has a run.
    """
    if (folder / NEWEST).exists():
        raise InputError(f"{folder}: got a folder with a run in it, expected one without")
    folder.mkdir(parents=True, exist_ok=True)
    save_state(folder / NEWEST, learner, None, dict(BEGINNING) if place is None else place)
