"""The server as clients see it."""

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import cv2
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from glus_edge.runtime import InputError, Segmenter, open_video
from glus_edge.runtime.loop_rules import LoopChoice
from glus_edge.runtime.serving.live_connection import LiveSettings
from glus_edge.runtime.serving.server import LARGEST_MESSAGE, LiveServer, ServerSettings
from glus_edge.runtime.shipped import FOLDER

CLIP = FOLDER / "clip" / "clip.mp4"
WINDOW = LoopChoice("window")
FIRST, SECOND = "the red disc", "the cyan square"


@contextmanager
def running(live: LiveSettings | None = None, **settings: Any) -> Iterator[LiveServer]:
    server = LiveServer(Segmenter.open, WINDOW, ServerSettings(port=0, **settings), live)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with running() as opened:
        yield opened


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray[Any, Any]]:
    return [frame.rgb for frame in open_video(CLIP).frames(0, 8)]


def live(server: LiveServer, **options: Any) -> ClientConnection:
    """Waits while the places are taken: a client that has left is let go a moment later."""
    base, _, query = server.address.replace("http", "ws", 1).partition("?")
    return connect(f"{base}v1/live?{query}", compression=None, **options)


def told(client: ClientConnection, message: object) -> dict[str, Any]:
    client.send(message if isinstance(message, (bytes, str)) else json.dumps(message))
    return json.loads(client.recv(30))  # type: ignore[no-any-return]


def png(rgb: np.ndarray[Any, Any]) -> bytes:
    return cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()


def masks_of(answer: dict[str, Any], size: tuple[int, int]) -> np.ndarray[Any, Any]:
    masks = [np.zeros(size, np.uint8)] * len(answer["sentences"])
    for number, each in enumerate(answer["sentences"]):
        if each["mask"] is not None:
            masks[number] = cv2.imdecode(np.frombuffer(base64.b64decode(each["mask"]), np.uint8), cv2.IMREAD_GRAYSCALE)
    return np.array(masks).reshape(-1, *size) > 0


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def _places_are_free(request: pytest.FixtureRequest) -> None:
    if "server" in request.fixturenames:
        opened = request.getfixturevalue("server")
        until(lambda: not opened._sockets)


def test_masks_are_those_of_a_live_session(server: LiveServer, pictures: list[np.ndarray[Any, Any]]) -> None:
    with Segmenter.open() as segmenter, live(server) as client:
        session = segmenter.stream([FIRST])
        assert told(client, {"add": [FIRST]}) == {"sentences": [FIRST]}
        for number, picture in enumerate(pictures):
            if number == 3:
                session.add(SECOND)
                assert told(client, {"add": [SECOND]}) == {"sentences": [FIRST, SECOND]}
            if number == 6:
                session.remove(0)
                assert told(client, {"remove": 0}) == {"sentences": [SECOND]}
            answer, expected = told(client, png(picture)), session.push(picture)
            assert (answer["frame"], answer["passed_over"]) == (number, 0)
            assert np.array_equal(masks_of(answer, picture.shape[:2]), expected.masks)
            assert [each["area"] for each in answer["sentences"]] == expected.masks.sum((1, 2)).tolist()


def test_two_clients_do_not_disturb_each_other(server: LiveServer, pictures: list[np.ndarray[Any, Any]]) -> None:
    def alone(sentence: str) -> list[np.ndarray[Any, Any]]:
        with Segmenter.open() as segmenter:
            session = segmenter.stream([sentence])
            return [session.push(picture).masks for picture in pictures]

    with live(server) as one, live(server) as other:
        told(one, {"add": [FIRST]})
        told(other, {"add": [SECOND]})
        got: list[list[np.ndarray[Any, Any]]] = [[], []]
        for picture in pictures:
            for client, masks in zip((one, other), got, strict=True):
                masks.append(masks_of(told(client, png(picture)), picture.shape[:2]))
    for sentence, masks in zip((FIRST, SECOND), got, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(masks, alone(sentence), strict=True))


def test_frames_that_come_too_fast_are_passed_over(server: LiveServer, pictures: list[np.ndarray[Any, Any]]) -> None:
    with live(server) as client:
        told(client, {"add": [FIRST]})
        count = 40
        for number in range(count):
            client.send(png(pictures[number % len(pictures)]))
        answers = []
        while not answers or answers[-1]["frame"] < count - 1:
            answers.append(json.loads(client.recv(30)))
        assert sum(1 + answer["passed_over"] for answer in answers) == count


def test_frames_of_any_size_and_no_sentence_yet(server: LiveServer) -> None:
    with live(server) as client:
        for size in ((48, 64), (1, 1), (300, 20)):
            answer = told(client, png(np.zeros((*size, 3), np.uint8)))
            assert answer["sentences"] == []
        told(client, {"add": [FIRST]})
        assert len(told(client, png(np.zeros((48, 64, 3), np.uint8)))["sentences"]) == 1


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("hello", "message: got 'hello', expected"),
        ({"remove": 1}, "remove: got 1, expected 0 to 0"),
        ({"add": [" "]}, "sentence"),
        ({"add": ["<image>"]}, "sentence"),
        ({"add": ["a"] * 8}, "add: got 9 sentences with those there are, expected at most 8"),
        ({"add": ["word " * 5000]}, "shorten it"),
        (b"no picture", "frame: got 10 bytes"),
        (b"", "frame: got 0 bytes"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_else_changes(
    server: LiveServer, pictures: list[np.ndarray[Any, Any]], message: object, said: str
) -> None:
    with live(server) as client:
        told(client, {"add": [FIRST]})
        assert said in told(client, message)["error"]
        assert [each["area"] > 0 for each in told(client, png(pictures[0]))["sentences"]] in ([True], [False])
        assert told(client, {"add": [SECOND]}) == {"sentences": [FIRST, SECOND]}


def test_a_message_that_is_too_long_ends_the_session(server: LiveServer) -> None:
    with live(server) as client:
        client.send(bytes(LARGEST_MESSAGE + 1))
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(30)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


def test_one_client_too_many_is_told_so(server: LiveServer) -> None:
    with live(server) as one, live(server) as two:
        for client in (one, two):
            told(client, {"add": [FIRST]})
        with live(server) as third, pytest.raises(ConnectionClosed, match="no place is free: 2 at once"):
            third.recv(30)


def test_a_client_that_vanishes_leaves_its_place(server: LiveServer, pictures: list[np.ndarray[Any, Any]]) -> None:
    for _ in range(3):
        with live(server) as client:
            told(client, {"add": [FIRST]})
            client.send(png(pictures[0]))
            client.socket.shutdown(socket.SHUT_RDWR)  # without a word
        until(lambda: not server._sockets)


def test_silence_ends_a_session() -> None:
    silent = LiveSettings(silence_s=0.2)
    with running(silent) as server, live(server) as client, pytest.raises(ConnectionClosed, match="nothing came for"):
        client.recv(30)


def test_the_server_shows_its_own_source() -> None:
    with running(LiveSettings(source=str(CLIP)), clients=1) as server, live(server) as client:
        health = get(server.address + "v1/health")[1]
        assert json.loads(health)["source"] == "the server's source"  # its address may hold a password
        assert "frame: got one, expected none" in _text(client, b"x")["error"]
        client.send(json.dumps({"add": [FIRST]}))
        numbers, size = [], (0, 0)
        for message in client:  # until it is closed as it should be
            if isinstance(message, bytes):
                size = cv2.imdecode(np.frombuffer(message, np.uint8), cv2.IMREAD_COLOR).shape[:2]
            elif "frame" in (answer := json.loads(message)):
                assert size == (320, 320)
                assert masks_of(answer, size).shape[1:] == size
                numbers.append(answer["frame"])
        assert client.close_reason == "the source has ended"
        assert numbers == sorted(set(numbers))
        assert numbers[-1] == open_video(CLIP).frame_count - 1


def _text(client: ClientConnection, message: bytes) -> dict[str, Any]:
    """The answer in text, past the pictures that come unasked."""
    client.send(message)
    while True:
        answer = client.recv(30)
        if isinstance(answer, str) and "error" in (document := json.loads(answer)):
            return document  # type: ignore[no-any-return]


def test_a_source_that_breaks_is_said(tmp_path: Any) -> None:
    missing = tmp_path / "gone.mp4"
    with running(LiveSettings(source=str(missing)), clients=1) as server, live(server) as client:
        assert "gone.mp4" in json.loads(client.recv(30))["error"]
        with pytest.raises(ConnectionClosed):
            client.recv(30)


def get(address: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    try:
        with urlopen(Request(address, headers=headers), timeout=30) as response:
            return response.status, response.read(), dict(response.headers)
    except HTTPError as error:
        return error.code, error.read(), dict(error.headers)


@pytest.mark.parametrize("path", ["", "page.js", "page.css"])
def test_the_page_loads_nothing_from_elsewhere(server: LiveServer, path: str) -> None:
    status, body, headers = get(server.address + path)
    assert status == 200
    assert b"http://" not in body
    assert b"https://" not in body
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_health_says_what_there_is(server: LiveServer) -> None:
    status, body, _ = get(server.address + "v1/health")
    assert status == 200
    assert json.loads(body)["status"] == "ok"
    assert json.loads(body)["source"] is None


@pytest.mark.parametrize("path", ["x", "..%2f..%2fetc/passwd", "page.html", "v1/", "//[", "%00"])
def test_there_is_nothing_else(server: LiveServer, path: str) -> None:
    assert get(server.address + path)[0] == 404


def test_other_sites_are_kept_out(server: LiveServer) -> None:
    assert get(server.address + "v1/health", Host="example.org")[0] == 403
    assert get(server.address + "v1/health", Origin="http://example.org")[0] == 403
    with pytest.raises(InvalidStatus, match="403"):
        live(server, origin="http://example.org")


def test_a_token_is_asked_for() -> None:
    with running(token="secret") as server:
        assert server.address.endswith("/?token=secret")
        bare = server.address.partition("?")[0]
        assert get(bare)[0] == 200  # the page says what is missing
        assert get(bare + "v1/health")[0] == 403
        assert get(bare + "v1/health?token=other")[0] == 403
        assert get(bare + "v1/health?token=secret", Host="example.org")[0] == 200
        with pytest.raises(InvalidStatus, match="403"):
            connect(bare.replace("http", "ws", 1) + "v1/live")
        with live(server) as client:
            assert told(client, {"add": [FIRST]}) == {"sentences": [FIRST]}


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "192.0.2.1"},
        {"host": "no such host"},
        {"port": 70_000},
        {"port": -1},
        {"key": CLIP},
        {"certificate": CLIP},
    ],
)
def test_where_it_cannot_listen_is_said_at_once(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        LiveServer(lambda: pytest.fail("no model was to be loaded"), WINDOW, ServerSettings(**{"port": 0, **settings}))


def test_a_port_that_is_taken_is_said(server: LiveServer) -> None:
    port = int(server.address.rsplit(":", 1)[1].strip("/"))
    with pytest.raises(InputError, match="cannot listen there"):
        LiveServer(Segmenter.open, WINDOW, ServerSettings(port=port))


def test_where_the_model_cannot_be_opened_the_port_is_free_again() -> None:
    def broken() -> Segmenter:
        raise InputError("no such bundle")

    with pytest.raises(InputError, match="no such bundle"):
        LiveServer(broken, WINDOW, ServerSettings(port=0))
