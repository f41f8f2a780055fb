"""A command line given to the very parser that reads it, and to nothing behind it."""

import argparse
import runpy
import sys
from collections.abc import Iterator
from unittest.mock import patch

from glus_edge.runtime import cli


class _ParsedError(Exception):
    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


_parse_args = argparse.ArgumentParser.parse_args


def _parse_only(parser, arguments=None, namespace=None):
    _parse_args(parser, arguments, namespace)
    raise _ParsedError(parser)


def parser_that_accepts(words: list[str]) -> argparse.ArgumentParser:
    """Of `glus-edge ...` or `python -m glus_edge... ...`. SystemExit: it does not accept the line."""
    with patch.object(argparse.ArgumentParser, "parse_args", _parse_only):
        try:
            if words[0] == "glus-edge":
                cli.main(words[1:])
            else:
                assert words[:2] == ["python", "-m"], words
                with patch.object(sys, "argv", words[2:]):
                    runpy.run_module(words[2], run_name="__main__", alter_sys=True)
        except _ParsedError as parsed:
            return parsed.parser
    raise AssertionError(f"{' '.join(words)}: parsed nothing")


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """All options of a parser and of its subcommands."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for subcommand in action.choices.values():
                yield from options(subcommand)
