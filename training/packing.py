"""Moves a run's state: to the official folders for export, and to a few small half-precision files and back.

python -m glus_edge.training.packing official --run RUN --output DIR   DIR/checkpoint, DIR/clip, DIR/sam2.yaml
python -m glus_edge.training.packing pack --run RUN --output DIR       small files to keep; the optimiser is left out
python -m glus_edge.training.packing unpack --packed DIR --run RUN     a run that `training.train` goes on with
python -m glus_edge.training.packing begin --run RUN --output DIR      a run that begins with the weights of another
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from glus_edge.runtime.errors import InputError
from glus_edge.training.checkpoint import save_official
from glus_edge.training.settings import TrainingSettings
from glus_edge.training.state_file import load_model, load_state, readable_state, save_state
from glus_edge.training.steps import Learner
from glus_edge.training.train import BEGINNING, build_learner

LARGEST_FILE_BYTES = 4_000_000
PLACE = "place.json"
STATES = {"best": "best.pt", "newest": "state.pt"}


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


def open_state(path: Path, settings: TrainingSettings, *, lessons: bool) -> tuple[Learner, dict[str, Any]]:
    """A run's learner and where it stood; `lessons`: with the heads that only training has.

    InputError: there is no such state, or it is of another model.
    """
    learner = build_learner(settings)
    with readable_state(path):
        state = (load_state if lessons else load_model)(path, learner)
        return learner, state["place"]


def write_official(learner: Learner, folder: Path) -> None:
    """The official folders of a learner."""
    save_official(folder, learner.glus, learner.tower, learner.sizes, learner.tokenizer, learner.score)


def begin(learner: Learner, folder: Path, place: dict[str, Any] | None = None) -> None:
    """Writes a run that `training.train` goes on with, from these weights; through all its stages where no place is given.

    InputError: the folder has a run.
    """
    if (folder / STATES["newest"]).exists():
        raise InputError(f"{folder}: got a folder with a run in it, expected one without")
    folder.mkdir(parents=True, exist_ok=True)
    save_state(folder / STATES["newest"], learner, None, dict(BEGINNING) if place is None else place)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("official", "pack", "begin"):
        command = commands.add_parser(name)
        command.add_argument("--run", type=Path, required=True, metavar="RUN")
        command.add_argument("--output", type=Path, required=True, metavar="DIR")
        command.add_argument("--best", action="store_true", help="the best state so far instead of the newest")
    command = commands.add_parser("unpack")
    command.add_argument("--packed", type=Path, required=True, metavar="DIR")
    command.add_argument("--run", type=Path, required=True, metavar="RUN")
    arguments = parser.parse_args()
    try:
        name = STATES["best" if arguments.command != "unpack" and arguments.best else "newest"]
        if arguments.command == "official":
            write_official(open_state(arguments.run / name, TrainingSettings(), lessons=False)[0], arguments.output)
        elif arguments.command == "pack":
            pack(*open_state(arguments.run / name, TrainingSettings(), lessons=True), arguments.output)
        elif arguments.command == "begin":
            learner, _ = open_state(arguments.run / name, TrainingSettings(), lessons=True)
            begin(learner, arguments.output)
        else:
            learner = build_learner(TrainingSettings())
            begin(learner, arguments.run, unpack(arguments.packed, learner))
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
