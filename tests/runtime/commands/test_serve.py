"""`glus-edge serve` as a person uses it."""

import re
import signal
from pathlib import Path
from urllib.request import urlopen

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from glus_edge.runtime.cli import main
from tests.runtime.started import started


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_the_page_is_and_ends_when_told(number: signal.Signals) -> None:
    with started("serve", "--port", "0") as running:
        assert running.stderr is not None
        assert running.stderr.readline().startswith("backend: ")
        found = re.search(r"http://(127\.0\.0\.1:[0-9]+/) ", running.stderr.readline())
        assert found is not None
        with urlopen(f"http://{found[1]}", timeout=30) as page:
            assert b"What to segment" in page.read()
        with connect(f"ws://{found[1]}v1/live") as client:
            running.send_signal(number)
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(30)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001  # the server goes away
        rest = running.stderr.read()
    assert (running.returncode, rest) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--clients", "0"], "--clients: got 0"),
        (["--sentences", "0"], "--sentences: got 0"),
        (["--largest-picture", "0"], "--largest-picture: got 0"),
        (["--deadline-ms", "0"], "deadline: got 0 ms"),
        (["--source", "gone.mp4"], "gone.mp4"),
        (["--refresh", "never"], "refresh"),
        (["--port", "99999"], "127.0.0.1:99999: cannot listen there"),
        (["--certificate", "gone.pem"], "gone.pem: cannot be used as a certificate"),
        (["--bundle", "gone"], "gone"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["serve", "--port", "0", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
