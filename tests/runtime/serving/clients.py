"""Servers in a thread, and what their clients say and get."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import cv2
import numpy as np
from numpy.typing import NDArray
from websockets.sync.client import ClientConnection, connect

from glus_edge.runtime import Segmenter
from glus_edge.runtime.bundle.shipped import FOLDER
from glus_edge.runtime.policies.loop_rules import LoopChoice
from glus_edge.runtime.serving.live_connection import LiveSettings
from glus_edge.runtime.serving.server import LiveServer, ServerSettings

CLIP = FOLDER / "clip" / "clip.mp4"
WINDOW = LoopChoice("window")
FIRST, SECOND = "the red disc", "the cyan square"

Picture = NDArray[np.uint8]


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


def live(server: LiveServer, **options: Any) -> ClientConnection:
    """Waits while the places are taken: a client that has left is let go a moment later."""
    base, _, query = server.address.replace("http", "ws", 1).partition("?")
    return connect(f"{base}v1/live?{query}", compression=None, **options)


def told(client: ClientConnection, message: object) -> dict[str, Any]:
    client.send(message if isinstance(message, (bytes, str)) else json.dumps(message))
    return json.loads(client.recv(30))  # type: ignore[no-any-return]


def png(rgb: Picture) -> bytes:
    return cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()


def masks_of(answer: dict[str, Any], size: tuple[int, int]) -> Picture:
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


def get(address: str, **headers: str) -> tuple[int, bytes, Message]:
    try:
        with urlopen(Request(address, headers=headers), timeout=30) as response:
            return response.status, response.read(), response.headers
    except HTTPError as error:
        return error.code, error.read(), error.headers
