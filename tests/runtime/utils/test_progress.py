import io
import sys

import pytest

from glus_edge.runtime.utils import progress
from glus_edge.runtime.utils.progress import silent, terminal_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("bar", [silent, terminal_bar])
def test_items_are_handed_through(bar: progress.Progress) -> None:
    assert list(bar(range(5), 5, "counting")) == [0, 1, 2, 3, 4]


def test_a_long_step_shows_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "PATIENCE_S", 0.0)
    assert list(terminal_bar(range(3), 3, "counting")) == [0, 1, 2]
    assert "counting" in sys.stderr.getvalue()  # type: ignore[attr-defined]


def test_a_short_step_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(terminal_bar(range(3), 3, "counting")) == [0, 1, 2]
    assert "counting" not in sys.stderr.getvalue()  # type: ignore[attr-defined]


def test_no_terminal_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(progress, "PATIENCE_S", 0.0)
    assert list(terminal_bar(range(3), 3, "counting")) == [0, 1, 2]
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]
