"""What tests of the server share."""

from collections.abc import Iterator

import pytest

from glus_edge.runtime import open_video
from glus_edge.runtime.serving.server import LiveServer
from tests.runtime.serving.clients import CLIP, Picture, running, until


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with running() as opened:
        yield opened


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    return [frame.rgb for frame in open_video(CLIP).frames(0, 8)]


@pytest.fixture(autouse=True)
def _places_are_free(request: pytest.FixtureRequest) -> None:
    if "server" in request.fixturenames:
        opened = request.getfixturevalue("server")
        until(lambda: not opened.app.connections)
