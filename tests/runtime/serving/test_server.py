"""The server as clients see it: who is let in, the page, and where it listens."""

import json
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from glus_edge.runtime import InputError, Segmenter
from glus_edge.runtime.serving.server import LiveServer, ServerSettings
from tests.runtime.serving.clients import (
    CLIP,
    FIRST,
    WINDOW,
    get,
    live,
    running,
    told,
)


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
