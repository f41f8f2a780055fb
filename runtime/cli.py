"""The command line: `glus-edge COMMAND ...`. Only the chosen command's module is imported, so that help is instant."""

import argparse
import contextlib
import importlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple, NoReturn, Protocol, cast

from glus_edge.runtime.errors import GlusEdgeError
from glus_edge.runtime.utils.termination import interrupted_by_sigterm
from glus_edge.runtime.utils.text import printable

USER_ERROR, INTERRUPTED = 2, 130  # exit codes; argparse uses 2 as well, a shell 130 for Ctrl-C
_OWN = "glus_edge"


class Command(NamedTuple):
    """One command."""

    module: str  # has `configure(parser)` and `run(arguments) -> exit code`
    help: str
    install: str = "pip install glus-edge"  # what brings the packages it needs


class Group(NamedTuple):
    """Commands below a command: `glus-edge bench gpu`."""

    help: str
    commands: Mapping[str, Command]
    default: str  # the one that is meant where none is named: `bench --frames 8` is `bench latency --frames 8`


class CommandModule(Protocol):
    """What a command's module offers."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Does the work and returns the exit code. Errors: GlusEdgeError for what the user can mend."""


_WITH_TORCH = "pip install 'glus-edge[export]' && pip install --no-deps sam2==1.1.0"
_BENCH = "pip install 'glus-edge[bench]' && pip install --no-deps sam2==1.1.0"
_BENCHMARKS = {
    "latency": Command(
        "glus_edge.benchmarks.latency.bench_command",
        "where a frame's milliseconds go, against the reference and the machine's limit",
        _WITH_TORCH,
    ),
    "profile": Command(
        "glus_edge.benchmarks.profiler.command",
        "latency as users see it, in five scenarios, with every raw sample; why the slowest frames were slow",
        _WITH_TORCH,
    ),
    "compare": Command(
        "glus_edge.benchmarks.profiler.compare_command",
        "what differs between records of profile beyond noise; code 1 on a regression",
    ),
    "gpu": Command(
        "glus_edge.benchmarks.gpu.command",
        "every graph on this NVIDIA GPU, by every backend that is here, against the roofline and torch",
        "pip install 'glus-edge[export]'",
    ),
    "language": Command(
        "glus_edge.benchmarks.language.command",
        "one step of the language model in 4 bits on this processor, beside llama.cpp",
        "pip install 'glus-edge[bench]'",
    ),
    "policies": Command(
        "glus_edge.benchmarks.policies.command",
        "what each policy of the loop costs in J&F, and saves in calls of the language model",
        _WITH_TORCH,
    ),
    "signals": Command(
        "glus_edge.benchmarks.policies.signals_command",
        "do the decoder's own scores tell good masks from bad ones?",
        _BENCH,
    ),
    "metrics": Command(
        "glus_edge.benchmarks.accuracy.metrics_command",
        "how fast J and F are computed, beside a plain loop",
        _BENCH,
    ),
    "precisions": Command(
        "glus_edge.calibration.precisions_command",
        "what each precision costs in J&F and saves in bytes",
        "pip install 'glus-edge[calibration]' && pip install --no-deps sam2==1.1.0",
    ),
}
COMMANDS: dict[str, Command | Group] = {
    "demo": Command("glus_edge.benchmarks.demo_command", "the small GLUS that ships, on the clip that ships"),
    "segment": Command("glus_edge.runtime.commands.segment", "masks of what sentences name, in every frame of a video"),
    "stream": Command(
        "glus_edge.runtime.commands.stream", "masks of live video as it comes: a camera, a stream, a file"
    ),
    "serve": Command(
        "glus_edge.runtime.commands.serve",
        "a page and an API for live video",
        "pip install 'glus-edge[serve]'",
    ),
    "export": Command(
        "glus_edge.export.command",
        "a GLUS checkpoint becomes a bundle",
        _WITH_TORCH,
    ),
    "build": Command(
        "glus_edge.runtime.commands.build", "TensorRT engines of a bundle", "pip install 'glus-edge[tensorrt]'"
    ),
    "calibrate": Command(
        "glus_edge.calibration.command",
        "what precision each part of a bundle can bear, on your videos: a smaller bundle within a budget",
        "pip install 'glus-edge[calibration]' && pip install --no-deps sam2==1.1.0",
    ),
    "evaluate": Command(
        "glus_edge.benchmarks.accuracy.evaluate_command",
        "how well a bundle's masks agree with the truth, on each data set by its own metric",
        _BENCH,
    ),
    "bench": Group("measurements: speed, memory, and what each setting costs in accuracy", _BENCHMARKS, "latency"),
    "inspect": Command("glus_edge.runtime.commands.inspect", "what a bundle holds"),
    "doctor": Command("glus_edge.runtime.commands.doctor", "what this machine can run, and what is missing"),
}


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(USER_ERROR, f"{self.prog}: error: {' '.join(message.split())}; see `{self.prog} --help`\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, 2 for a user's error (one line on stderr), 130 after Ctrl-C."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As stderr has it: a path need not be text, and a terminal need not have every letter.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with interrupted_by_sigterm():
            return _run(argv)
    except GlusEdgeError as error:
        return _failed(str(error))
    except KeyboardInterrupt:
        print("glus-edge: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _drop_unwritten()
        return 1
    except MemoryError:
        return _failed("memory: there is not enough for this; close other programs, or use a smaller bundle or video")
    except OSError as error:
        where = "standard output or a file" if error.filename is None else os.fsdecode(error.filename)
        return _failed(f"{where}: cannot be used ({error.strerror or error})")


def _failed(message: str) -> int:
    """Says what is wrong, in one line."""
    print(f"glus-edge: error: {printable(' '.join(message.split()))}", file=sys.stderr)
    _drop_unwritten()
    return USER_ERROR


def _drop_unwritten() -> None:
    """What standard output refuses (its reader has left, its disk is full) is not tried again as the interpreter exits."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(argv: list[str]) -> int:
    argv = _with_default(argv)
    parser = _Parser(
        prog="glus-edge", description="Referring video segmentation: a video and a sentence in, a mask per frame out."
    )
    parser.add_argument("--version", action="version", version=f"glus-edge {_version()}")
    name, command, chosen = _add_commands(parser, COMMANDS, argv)
    try:
        module: CommandModule | None = None
        if command is not None:
            module = cast(CommandModule, importlib.import_module(command.module))
            module.configure(chosen)
        arguments = parser.parse_args(argv)
        arguments.argv = argv  # a benchmark's record holds it
        assert module is not None, "argparse lets nothing but a known command through"
        return module.run(arguments)
    except ModuleNotFoundError as error:
        if command is None or error.name is None or error.name.split(".")[0] == _OWN:
            raise
        raise GlusEdgeError(
            f"{name}: got no Python package {error.name}, expected all the command needs; {command.install}"
        ) from error


def _version() -> str:
    try:
        return version("glus-edge")
    except PackageNotFoundError:  # run from the repository, without an installation
        return "not installed"


def _with_default(argv: list[str]) -> list[str]:
    """Names a group's default command where options follow the group's name at once, or nothing does."""
    place = next((place for place, word in enumerate(argv) if not word.startswith("-")), len(argv))
    group = COMMANDS.get(argv[place]) if place < len(argv) else None
    rest = argv[place + 1 :]
    if isinstance(group, Group) and (not rest or (rest[0].startswith("-") and rest[0] not in ("-h", "--help"))):
        return [*argv[: place + 1], group.default, *rest]
    return argv


def _add_commands(
    parser: argparse.ArgumentParser, commands: Mapping[str, Command | Group], words: list[str]
) -> tuple[str, Command | None, argparse.ArgumentParser]:
    """Adds every command's name and help; gives the name, entry and parser of the one that the words choose."""
    place = next((place for place, word in enumerate(words) if not word.startswith("-")), len(words))
    name = words[place] if place < len(words) else ""
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    parsers = {each: subparsers.add_parser(each, help=entry.help) for each, entry in commands.items()}
    for each, entry in commands.items():
        parsers[each].description = f"{each}: {entry.help}."
        if isinstance(entry, Group):
            parsers[each].epilog = f"Options without a COMMAND are those of {entry.default}."
    chosen = commands.get(name)
    if isinstance(chosen, Group):
        below, command, its_parser = _add_commands(parsers[name], chosen.commands, words[place + 1 :])
        return f"{name} {below}", command, its_parser
    return name, chosen, parsers.get(name, parser)


if __name__ == "__main__":
    sys.exit(main())
