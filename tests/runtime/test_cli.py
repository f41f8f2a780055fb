import argparse
import io
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from importlib.metadata import version

import pytest

from glus_edge.runtime import cli
from glus_edge.runtime.errors import InputError


@pytest.fixture
def add_command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Adds a command `try` whose module runs the function given."""

    def add(run: Callable[[argparse.Namespace], int], install: str = "pip install glus-edge") -> None:
        module = types.ModuleType("a_command")
        module.configure = lambda parser: parser.add_argument("--size", type=int)  # type: ignore[attr-defined]
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "a_command", module)
        monkeypatch.setitem(cli.COMMANDS, "try", cli.Command("a_command", "tries", install))

    return add


def test_a_command_gets_its_arguments_and_gives_the_exit_code(add_command: Callable[..., None]) -> None:
    seen = []

    def run(arguments: argparse.Namespace) -> int:
        seen.append(arguments.size)
        return 7

    add_command(run)
    assert cli.main(["try", "--size", "3"]) == 7
    assert seen == [3]


def test_a_users_error_is_one_line_and_exit_code_2(
    add_command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def run(arguments: argparse.Namespace) -> int:
        raise InputError("size: got 0,\n expected 1")

    add_command(run)
    assert cli.main(["try"]) == 2
    assert capsys.readouterr() == ("", "glus-edge: error: size: got 0, expected 1\n")


def test_ctrl_c_is_exit_code_130(add_command: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    def run(arguments: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    add_command(run)
    assert cli.main(["try"]) == 130
    assert capsys.readouterr().err == "glus-edge: interrupted\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "memory: there is not enough"),
        (FileNotFoundError(2, "No such file or directory", "gone"), "gone: cannot be used (No such file or directory)"),
        (OSError(24, "Too many open files"), "standard output or a file: cannot be used (Too many open files)"),
        (InputError("name: got \x1b[2J"), "name: got \\x1b[2J"),
    ],
)
def test_what_the_machine_lacks_is_one_line_as_well(
    add_command: Callable[..., None], capsys: pytest.CaptureFixture[str], error: Exception, said: str
) -> None:
    def run(arguments: argparse.Namespace) -> int:
        raise error

    add_command(run)
    assert cli.main(["try"]) == 2
    out = capsys.readouterr().err
    assert said in out
    assert len(out.splitlines()) == 1


def test_sigterm_ends_every_command_as_ctrl_c_does(add_command: Callable[..., None]) -> None:
    def run(arguments: argparse.Namespace) -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    before = signal.getsignal(signal.SIGTERM)
    add_command(run)
    assert cli.main(["try"]) == 130
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_bug_is_not_hidden(add_command: Callable[..., None]) -> None:
    def run(arguments: argparse.Namespace) -> int:
        raise ZeroDivisionError

    add_command(run)
    with pytest.raises(ZeroDivisionError):
        cli.main(["try"])


def test_a_missing_package_tells_what_to_install(
    add_command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def run(arguments: argparse.Namespace) -> int:
        import no_such_package.inside  # noqa: F401

        return 0

    add_command(run, "pip install 'glus-edge[export]'")
    assert cli.main(["try"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no_such_package" in error
    assert "pip install 'glus-edge[export]'" in error


def test_a_missing_module_of_our_own_is_a_bug(add_command: Callable[..., None]) -> None:
    def run(arguments: argparse.Namespace) -> int:
        import glus_edge.runtime.no_such_module  # noqa: F401

        return 0

    add_command(run)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["try"])


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["try", "--size", "x"], ["try", "--no-such-option"]])
def test_what_cannot_be_parsed_is_one_line_and_exit_code_2(
    add_command: Callable[..., None], capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    add_command(lambda _: 0)
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("glus-edge")
    assert "error: " in error


def test_a_group_runs_the_command_below_it(
    add_command: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = []

    def run(arguments: argparse.Namespace) -> int:
        ran.append(arguments.size)
        return 0

    add_command(run)
    command = cli.COMMANDS["try"]
    assert isinstance(command, cli.Command)
    monkeypatch.setitem(cli.COMMANDS, "many", cli.Group("many", {"one": command, "two": command}, "two"))
    assert cli.main(["many", "one", "--size", "3"]) == 0
    assert cli.main(["many", "--size", "4"]) == 0
    assert cli.main(["many"]) == 0
    assert ran == [3, 4, None]
    for wrong in (["many", "three"], ["many", "one", "two"]):
        with pytest.raises(SystemExit) as exit_:
            cli.main(wrong)
        assert exit_.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_missing_package_below_a_group_tells_what_that_command_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = cli.Command("no_such_package.command", "lacks", "pip install 'glus-edge[lacking]'")
    monkeypatch.setitem(cli.COMMANDS, "many", cli.Group("many", {"one": lacking}, "one"))
    assert cli.main(["many", "one", "--help"]) == 2
    error = capsys.readouterr().err
    assert "many one: got no Python package no_such_package" in error
    assert "pip install 'glus-edge[lacking]'" in error


def test_the_help_of_a_group_imports_none_of_its_commands() -> None:
    script = (
        "import sys\nfrom glus_edge.runtime.cli import main\n"
        "try:\n    main(['bench', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert 'glus_edge.benchmarks' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    bench = cli.COMMANDS["bench"]
    assert isinstance(bench, cli.Group)
    told = " ".join(done.stdout.split())
    assert all(name in told and command.help in told for name, command in bench.commands.items())


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_the_help_lists_every_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--help"])
    assert exit_.value.code == 0
    assert cli.COMMANDS[command].help in " ".join(capsys.readouterr().out.split())


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"glus-edge {version('glus-edge')}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["segment", "--help"], ["inspect", "--help"], ["doctor"]])
def test_torch_is_not_imported_by_commands_of_the_runtime(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom glus_edge.runtime.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'onnx', 'sam2'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_a_reader_that_leaves_early_sees_no_traceback() -> None:
    script = "from glus_edge.runtime.cli import main; import sys; sys.exit(main(['doctor']))"
    command = f'{sys.executable} -c "{script}" | head -n 1 > /dev/null'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_a_letter_the_terminal_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding="ascii"))

    def run(arguments: argparse.Namespace) -> int:
        print("caf\u00e9 \udcff", flush=True)
        return 0

    module = types.ModuleType("spoken")
    module.configure, module.run = lambda parser: None, run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "spoken", module)
    monkeypatch.setitem(cli.COMMANDS, "spoken", cli.Command("spoken", "speaks"))
    assert cli.main(["spoken"]) == 0
    assert content.getvalue() == b"caf\\xe9 \\udcff\n"
