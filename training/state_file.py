"""The file a training run goes on from: weights, the optimiser, and where the run stands."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from glus_edge.runtime.errors import InputError
from glus_edge.training.learner import Learner
from glus_edge.training.optimizer import TrainingOptimizer
from glus_edge.training.settings import TrainingSettings

NEWEST, BEST = "state.pt", "best.pt"  # in a run's folder
BEGINNING: dict[str, Any] = {"stage": 0, "step": 0, "best": 0.0, "seconds": 0.0}


def save_state(path: Path, learner: Learner, optimizer: TrainingOptimizer | None, place: dict[str, Any]) -> None:
    """Everything needed to go on from here; written beside and moved, so that a stop at any time is harmless."""
    state = {
        "glus": learner.glus.state_dict(),
        "tower": learner.tower.state_dict(),
        "heads": learner.heads.state_dict(),
        "score": learner.score.state_dict(),
        "optimizer": optimizer.state_dict() if optimizer else None,
        "place": place,
    }
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


@contextmanager
def readable_state(path: Path) -> Iterator[None]:
    """What is read within is a state of a run, or an InputError says that it is not."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected a state of a training run") from error
    except (RuntimeError, UnpicklingError, EOFError, LookupError, TypeError) as error:
        raise InputError(f"{path}: got {repr(error)[:120]}, expected a state of this model") from error


def load_model(path: Path, learner: Learner) -> dict[str, Any]:
    """Puts back the weights that ship, those of heads that only training has left out; returns the whole state."""
    state: dict[str, Any] = torch.load(path, weights_only=True)
    learner.glus.load_state_dict(state["glus"])
    learner.tower.load_state_dict(state["tower"])
    if "score" in state:  # states of runs begun before there was one have none
        learner.score.load_state_dict(state["score"])
    return state


def load_state(path: Path, learner: Learner) -> dict[str, Any]:
    """Puts the weights back; returns the whole state (its "optimizer" and "place")."""
    state = load_model(path, learner)
    learner.heads.load_state_dict(state["heads"])
    return state


def check_same_run(folder: Path, settings: TrainingSettings) -> None:
    """InputError: the folder holds a run of other stages or of another ablation than these settings."""
    path = folder / NEWEST
    if not path.exists():
        return
    with readable_state(path):
        place = torch.load(path, weights_only=True, mmap=True)["place"]
    done = place.get("stages", [])
    own = [stage.name for stage in settings.stages[: len(done)]]
    if done != own:
        raise InputError(f"{folder}: got --stages {','.join(own)}, expected {','.join(done)}, as it was begun")
    begun = place.get("ablation", settings.ablation)
    if begun != settings.ablation:
        raise InputError(f"{folder}: got --ablation {settings.ablation}, expected {begun}, as it was begun")
