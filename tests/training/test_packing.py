from pathlib import Path

import pytest
import torch

from glus_edge.runtime.errors import InputError
from glus_edge.training.__main__ import main
from glus_edge.training.commands import unpack as command
from glus_edge.training.learner import Learner
from glus_edge.training.packing import begin_run, open_state, pack, unpack
from glus_edge.training.state_file import save_state
from glus_edge.training.train import train
from tests.training.tiny import tiny_settings, tiny_stage

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]


def write_truncated(path: Path) -> None:
    torch.save({"place": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:500])


NO_STATES = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello world"),
    "truncated": write_truncated,
    "a list": lambda path: torch.save([1, 2], path),
    "other weights": lambda path: torch.save({"glus": {}, "place": {}}, path),
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("name", NO_STATES)
def test_a_file_that_is_no_state_is_said_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "state.pt"
    NO_STATES[name](path)
    with pytest.raises(InputError, match=r"state\.pt: .*expected a state of") as caught:
        open_state(path, tiny_settings(), training_heads=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in NO_STATES if name != "other weights"])
def test_a_run_does_not_go_on_from_a_file_that_is_no_state(tmp_path: Path, name: str) -> None:
    NO_STATES[name](tmp_path / "state.pt")
    with pytest.raises(InputError, match=r"state\.pt: .*expected a state of"):
        train(tmp_path, tiny_settings(tiny_stage("masks", 1)))


def test_a_run_has_at_least_one_process_and_a_seed_that_can_be_drawn_from(tmp_path: Path) -> None:
    from dataclasses import replace

    for wrong in ({"processes": 0}, {"seed": -1}):
        with pytest.raises(InputError, match="expected at least 1 and at least 0"):
            train(tmp_path / "run", replace(tiny_settings(), **wrong))
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_no_packed_weights_is_said_in_one_line(learner: Learner, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected what `pack` writes"):
        unpack(tmp_path, learner)
    pack(learner, {"stage": 0}, tmp_path)
    (tmp_path / "weights-00.safetensors").write_bytes(b"weights")
    with pytest.raises(InputError, match="expected what `pack` writes"):
        unpack(tmp_path, learner)


def test_packed_weights_replace_no_run(
    learner: Learner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = {"stage": 2, "step": 7, "best": 0.0, "seconds": 0.0}
    packed, run = tmp_path / "packed", tmp_path / "run"
    pack(learner, place, packed)
    monkeypatch.setattr(command, "TrainingSettings", tiny_settings)
    arguments = ["unpack", "--packed", str(packed), "--run", str(run)]
    assert main(arguments) == 0
    assert open_state(run / "state.pt", tiny_settings(), training_heads=True)[1] == place
    assert main(arguments) == 2
    assert "got a folder with a run in it, expected one without" in capsys.readouterr().err


def test_a_run_that_begins_anew_does_not_take_over_where_the_other_stood(learner: Learner, tmp_path: Path) -> None:
    save_state(tmp_path / "state.pt", learner, None, {"stage": 3, "step": 5})
    begin_run(open_state(tmp_path / "state.pt", tiny_settings(), training_heads=True)[0], tmp_path / "other")
    place = open_state(tmp_path / "other" / "state.pt", tiny_settings(), training_heads=True)[1]
    assert (place["stage"], place["step"]) == (0, 0)
