"""One client's session, as the client sees it."""

import json
import socket
from typing import Any

import cv2
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from glus_edge.runtime import Segmenter, open_video
from glus_edge.runtime.serving.app import LARGEST_MESSAGE
from glus_edge.runtime.serving.live_connection import LiveSettings
from glus_edge.runtime.serving.server import LiveServer
from tests.runtime.serving.clients import (
    CLIP,
    FIRST,
    SECOND,
    Picture,
    get,
    live,
    masks_of,
    png,
    running,
    told,
    until,
)


def test_masks_are_those_of_a_live_session(server: LiveServer, pictures: list[Picture]) -> None:
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
            assert (answer["index"], answer["passed_over"]) == (number, 0)
            assert np.array_equal(masks_of(answer, picture.shape[:2]), expected.masks)
            assert [each["text"] for each in answer["sentences"]] == list(session.sentences)
            assert [each["area_px"] for each in answer["sentences"]] == expected.masks.sum((1, 2)).tolist()


def test_two_clients_do_not_disturb_each_other(server: LiveServer, pictures: list[Picture]) -> None:
    def alone(sentence: str) -> list[Picture]:
        with Segmenter.open() as segmenter:
            session = segmenter.stream([sentence])
            return [session.push(picture).masks for picture in pictures]

    with live(server) as one, live(server) as other:
        told(one, {"add": [FIRST]})
        told(other, {"add": [SECOND]})
        got: list[list[Picture]] = [[], []]
        for picture in pictures:
            for client, masks in zip((one, other), got, strict=True):
                masks.append(masks_of(told(client, png(picture)), picture.shape[:2]))
    for sentence, masks in zip((FIRST, SECOND), got, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(masks, alone(sentence), strict=True))


def test_frames_that_come_too_fast_are_passed_over(server: LiveServer, pictures: list[Picture]) -> None:
    with live(server) as client:
        told(client, {"add": [FIRST]})
        count = 40
        for number in range(count):
            client.send(png(pictures[number % len(pictures)]))
        answers = []
        while not answers or answers[-1]["index"] < count - 1:
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
        ({"add": ["\0"]}, "sentence: got a control character"),
        ({"add": ["<image>"]}, "sentence"),
        ({"add": ["a"] * 8}, "add: got 9 sentences with those there are, expected at most 8"),
        ({"add": ["word " * 5000]}, "shorten it"),
        (b"no picture", "frame: got 10 bytes"),
        (b"", "frame: got 0 bytes"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_else_changes(
    server: LiveServer, pictures: list[Picture], message: object, said: str
) -> None:
    with live(server) as client:
        told(client, {"add": [FIRST]})
        assert said in told(client, message)["error"]
        assert [each["area_px"] > 0 for each in told(client, png(pictures[0]))["sentences"]] in ([True], [False])
        assert told(client, {"add": [SECOND]}) == {"sentences": [FIRST, SECOND]}


def test_a_message_that_is_too_long_ends_the_session(server: LiveServer) -> None:
    with live(server) as client:
        with pytest.raises(ConnectionClosed) as closed:  # perhaps while the client is still sending
            told(client, bytes(LARGEST_MESSAGE + 1))
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


def test_one_client_too_many_is_told_so(server: LiveServer) -> None:
    with live(server) as one, live(server) as two:
        for client in (one, two):
            told(client, {"add": [FIRST]})
        with live(server) as third, pytest.raises(ConnectionClosed, match="no place is free: 2 at once"):
            third.recv(30)


def test_a_client_that_vanishes_leaves_its_place(server: LiveServer, pictures: list[Picture]) -> None:
    for _ in range(3):
        with live(server) as client:
            told(client, {"add": [FIRST]})
            client.send(png(pictures[0]))
            client.socket.shutdown(socket.SHUT_RDWR)  # without a word
        until(lambda: not server.app.connections)


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
            elif "index" in (answer := json.loads(message)):
                assert size == (320, 320)
                assert masks_of(answer, size).shape[1:] == size
                numbers.append(answer["index"])
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
