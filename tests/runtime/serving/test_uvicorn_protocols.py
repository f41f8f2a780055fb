"""Connections that say or read nothing."""

import socket

import pytest
from websockets.exceptions import ConnectionClosed

from glus_edge.runtime.serving import uvicorn_protocols
from glus_edge.runtime.serving.live_connection import LiveSettings
from glus_edge.runtime.serving.server import LiveServer
from tests.runtime.serving.clients import CLIP, Picture, get, live, png, running, told, until


def connection(server: LiveServer) -> socket.socket:
    host, _, port = server.address.removeprefix("http://").rstrip("/").partition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def closed(by_the_server: socket.socket) -> bool:
    try:
        return by_the_server.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_connection_without_a_whole_request_is_closed(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(uvicorn_protocols, "FIRST_REQUEST_S", 0.2)
    with running() as server, connection(server) as silent:
        silent.sendall(said)
        assert closed(silent)
        assert get(server.address)[0] == 200


def test_a_live_session_outlasts_the_limit_of_the_first_request(
    monkeypatch: pytest.MonkeyPatch, pictures: list[Picture]
) -> None:
    monkeypatch.setattr(uvicorn_protocols, "FIRST_REQUEST_S", 0.1)
    with running() as server, live(server) as client:
        for number in range(8):
            assert told(client, png(pictures[number]))["index"] == number
            told(client, {"remove": 0})


def test_a_client_that_does_not_read_gives_its_place_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn_protocols, "LAST_WORDS_S", 0.2)
    with running(LiveSettings(source=str(CLIP), unread_s=0.3), clients=1) as server:
        server.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 12)  # accepted sockets inherit it
        small = connection(server)
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
        with live(server, sock=small, max_queue=1, close_timeout=0.1) as deaf:
            until(lambda: bool(server.app.connections))
            until(lambda: not server.app.connections)
            with live(server) as another:
                assert another.recv(30)
            with pytest.raises(ConnectionClosed):
                list(deaf)
