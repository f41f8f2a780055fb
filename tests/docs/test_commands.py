"""What the pages tell people to type: it runs here, or the real parser accepts it."""

import argparse
import importlib
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from glus_edge.runtime import cli
from glus_edge.runtime.bundle.shipped import shipped_bundle
from tests.docs.commands import options, parser_that_accepts
from tests.docs.pages import PAGES, ROOT, Block, blocks, text_outside_blocks

pytestmark = [
    pytest.mark.torch,  # the commands of export, benchmarks and training import it
    pytest.mark.filterwarnings("ignore:.*found in sys.modules after import of package:RuntimeWarning"),
]

CLIP = shipped_bundle().parent / "clip" / "clip.mp4"
SHELL = blocks("sh")
PYTHON = blocks("python")
toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
EXTRAS = toml.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def lines(block: Block) -> list[list[str]]:
    commands = (shlex.split(line, comments=True) for line in block.text.replace("\\\n", " ").splitlines())
    return [words for words in commands if words]


def is_ours(words: list[str]) -> bool:
    return words[0] == "glus-edge" or (words[:2] == ["python", "-m"] and words[2].startswith("glus_edge."))


def cases(wanted):
    return [pytest.param(block, id=block.place) for block in wanted]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the file that the pages name."""
    shutil.copy(CLIP, tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", cases(each for each in SHELL if not each.needs and any(map(is_ours, lines(each)))))
def test_a_block_of_shell_without_a_need_runs(block, workplace, capsys):
    for words in lines(block):
        assert words[0] == "glus-edge", f"{words}: a block that runs holds nothing else"
        assert cli.main(words[1:]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("block", cases(each for each in SHELL if each.needs))
def test_a_block_of_shell_that_needs_something_is_accepted_by_the_parser(block, workplace):
    for words in lines(block):
        if words[:3] == ["python", "-m", "pytest"]:
            assert all((ROOT / path).exists() for path in words[3:]), words
        else:
            assert is_ours(words), f"{words}: no check for this command"
            parser_that_accepts(words)


@pytest.mark.parametrize(
    "block", cases(each for each in SHELL if not each.needs and not any(map(is_ours, lines(each))))
)
def test_what_is_installed_and_made_exists(block):
    for words in lines(block):
        _check_installation(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_installed_and_made_exists_where_a_sentence_says_so(page):
    for code in re.findall(r"`((?:make|pip install|\S+/pip install) [^`]+)`", text_outside_blocks(page)):
        _check_installation(shlex.split(code))


def _check_installation(words: list[str]) -> None:
    if words[0] == "make":
        targets = re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets), words
        return
    assert Path(words[0]).name == "pip", f"{words}: no check for this command"
    assert words[1] in ("install", "uninstall"), words
    for word in words[2:]:
        extras = re.fullmatch(r"\.\[(.+)\]", word)
        assert extras is None or set(extras[1].split(",")) <= set(EXTRAS), word


@pytest.mark.parametrize("block", cases(each for each in PYTHON if not each.needs))
def test_a_block_of_python_runs(block, workplace):
    code = compile(block.text, block.place, "exec")
    exec(code, {"frame": np.zeros((64, 96, 3), np.uint8)})


def test_every_page_says_what_it_shows_in_sh_or_python():
    written = {language for page in PAGES for language in re.findall(r"^```(\w+)", page.read_text(), re.MULTILINE)}
    assert written == {"sh", "python"}


@pytest.fixture(scope="module")
def known_options() -> set[str]:
    """Of every command of `glus-edge`, and of every other command that a page shows."""
    parsers = []
    for entry in cli.COMMANDS.values():
        for command in entry.commands.values() if isinstance(entry, cli.Group) else (entry,):
            parser = argparse.ArgumentParser()
            importlib.import_module(command.module).configure(parser)
            parsers.append(parser)
    shown = [words for block in SHELL for words in lines(block)]
    parsers += [parser_that_accepts(words) for words in shown if words[0] == "python" and is_ours(words)]
    return {option for parser in parsers for option in options(parser)}


OTHERS_OPTIONS = {"--no-deps", "--system-site-packages"}  # pip's and venv's


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_in_sentences_and_tables_exist(page, known_options):
    for code in re.findall(r"`([^`\n]+)`", text_outside_blocks(page)):
        words = code.split()
        if words[0] == "glus-edge" and len(words) > 1:
            assert words[1] in {*cli.COMMANDS, "COMMAND"}, code
            entry = cli.COMMANDS.get(words[1])
            if isinstance(entry, cli.Group) and len(words) > 2 and not words[2].startswith("-"):
                assert set(words[2].split("|")) <= set(entry.commands), code
        assert {word for word in words if re.fullmatch(r"--[a-z].*", word)} <= known_options | OTHERS_OPTIONS, code


def test_the_fields_of_a_line_of_stream_are_those_the_page_lists(workplace, capsys):
    assert cli.main(["stream", "clip.mp4", "the cyan square", "--frames", "1"]) == 0
    table = re.search(r"\| field of the line .*?\n\n", (ROOT / "docs" / "live.md").read_text(), re.DOTALL)[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(json.loads(capsys.readouterr().out))
