import subprocess
import sys
from importlib import import_module

import pytest

from glus_edge.training.__main__ import COMMANDS, main


@pytest.mark.torch
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert f"glus_edge.training {command}" in capsys.readouterr().out
    assert import_module(f"glus_edge.training.commands.{command}").__doc__


def test_help_lists_the_commands_without_torch() -> None:
    code = (
        "import sys; from glus_edge.training.__main__ import main\n"
        "try: main(['--help'])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert all(command in shown for command in COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["dance"], ["--seed", "1", "train"]])
def test_an_unknown_command_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "error:" in capsys.readouterr().err


@pytest.mark.torch
def test_a_users_mistake_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--output", "run", "--stages", "dance"]) == 2
    assert capsys.readouterr().err == (
        "train: error: stages: got 'dance', expected NAME or NAME:STEPS, names being "
        "tower, masks, ground, motion, joint, score\n"
    )
