"""The routes, without a socket."""

from collections.abc import Iterator
from threading import Event

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from glus_edge.runtime import Segmenter
from glus_edge.runtime.serving import app as app_module
from glus_edge.runtime.serving import live_connection
from glus_edge.runtime.serving.access import Access
from glus_edge.runtime.serving.app import HEALTH, LIVE, OPENAPI, READY, LiveApp
from glus_edge.runtime.serving.engine_thread import EngineThread
from glus_edge.runtime.serving.live_connection import LiveSettings
from tests.runtime.serving.clients import FIRST, WINDOW, Picture, png, until

WS = "ws://localhost" + LIVE


@pytest.fixture(scope="module")
def engines() -> Iterator[EngineThread]:
    opened = EngineThread(Segmenter.open, WINDOW)
    yield opened
    opened.close()


def client(engines: EngineThread, access: Access = Access(None)) -> TestClient:  # noqa: B008 - frozen
    return TestClient(LiveApp(engines, access, 1, LiveSettings()).asgi, "http://localhost")


def test_the_description_of_the_api_names_every_route_and_no_other(engines: EngineThread) -> None:
    document = client(engines).get(OPENAPI).json()
    assert set(document["paths"]) == {HEALTH, READY, LIVE}
    assert document["info"]["version"]
    for path in document["paths"]:
        assert str(client(engines).get(path).status_code) in document["paths"][path]["get"]["responses"]


@pytest.mark.parametrize("path", ["/", HEALTH, READY, OPENAPI, LIVE])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_is_changed_over_http(engines: EngineThread, path: str, method: str) -> None:
    assert client(engines).request(method, path).status_code == 405


def test_readiness_asks_the_engines(engines: EngineThread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "_READY_S", 0.05)
    assert (client(engines).get(READY).status_code, client(engines).get(READY).json()) == (200, {"engines": "ready"})
    go_on = Event()
    engines.submit(go_on.wait)
    try:
        busy = client(engines).get(READY)
        assert (busy.status_code, busy.json()) == (503, {"engines": "busy"})
        assert client(engines).get(HEALTH).status_code == 200
    finally:
        go_on.set()


def test_a_token_may_come_as_a_bearer(engines: EngineThread) -> None:
    guarded = client(engines, Access("secret"))
    assert guarded.get(HEALTH, headers={"Authorization": "Bearer secret"}).status_code == 200
    for wrong in ("Bearer other", "Basic secret", "secret", ""):
        assert guarded.get(HEALTH, headers={"Authorization": wrong}).status_code == 403


def test_two_origins_are_those_of_no_page_here(engines: EngineThread) -> None:
    both = [("Origin", "http://localhost"), ("Origin", "http://localhost")]
    assert client(engines).get(HEALTH, headers=both[:1]).status_code == 200
    assert client(engines).get(HEALTH, headers=both).status_code == 403


def test_a_session_without_a_network(engines: EngineThread, pictures: list[Picture]) -> None:
    with client(engines).websocket_connect(WS) as socket:
        socket.send_json({"add": [FIRST]})
        assert socket.receive_json() == {"sentences": [FIRST]}
        for number, picture in enumerate(pictures[:3]):
            socket.send_bytes(png(picture))
            assert socket.receive_json()["index"] == number


def test_what_was_not_foreseen_is_said_to_the_client_and_raised(
    engines: EngineThread, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*record: object) -> None:
        raise ZeroDivisionError

    app = LiveApp(engines, Access(None), 1, LiveSettings())

    def converse() -> None:
        with TestClient(app.asgi).websocket_connect(WS) as socket:
            socket.send_json({"add": [FIRST]})
            socket.receive_json()
            socket.send_bytes(png(pictures[0]))
            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_json()
            assert closed.value.code == 1011
            until(lambda: not app.connections)

    monkeypatch.setattr(live_connection, "stream_record", broken)
    with pytest.raises(ZeroDivisionError):
        converse()
