"""The server's routes: the page, health and readiness, the API's description, and live sessions over WebSockets."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from importlib.resources import files

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.status import WS_1001_GOING_AWAY, WS_1013_TRY_AGAIN_LATER
from starlette.websockets import WebSocket

from glus_edge.runtime.serving.access import Access
from glus_edge.runtime.serving.engine_thread import EngineThread
from glus_edge.runtime.serving.live_connection import LiveConnection, LiveSettings

LIVE, HEALTH, READY, OPENAPI = "/v1/live", "/v1/health", "/v1/ready", "/openapi.json"
LARGEST_MESSAGE = 8 << 20  # bytes of one frame's file

_PAGES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_READY_S = 5.0  # within which engines that work take their next task
# The page loads nothing from elsewhere, and no other page may frame it.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src blob:; "
    "connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address may hold the token
    "Cache-Control": "no-cache",
}


class LiveApp:
    """The routes as an ASGI application, `asgi`, and the clients that are there."""

    def __init__(self, engines: EngineThread, access: Access, clients: int, settings: LiveSettings) -> None:
        """`clients`: at once, at most."""
        self._engines, self._access, self._most, self._settings = engines, access, clients, settings
        self._threads = ThreadPoolExecutor(clients, "glus-edge-client")
        self.connections: set[LiveConnection] = set()  # of the clients that were let in
        self._closing = False
        self.asgi = Starlette(
            routes=[
                *(Route(path, _page(name, kind)) for path, (name, kind) in _PAGES.items()),
                Route(OPENAPI, self._openapi),
                Route(HEALTH, self._health),
                Route(READY, self._ready),
                Route(LIVE, _upgrade),
                WebSocketRoute(LIVE, self._live),
            ],
            exception_handlers={HTTPException: _refused},
        )
        self.asgi.router.redirect_slashes = False

    async def say_goodbye(self) -> None:
        """Ends every session, and those that would begin; waits for no client."""
        self._closing = True
        await asyncio.gather(*(each.close(WS_1001_GOING_AWAY, "the server ends") for each in self.connections))

    def close(self) -> None:
        """Waits for the clients' threads, which end with their sessions."""
        self._threads.shutdown()

    def _refusal(self, connection: HTTPConnection) -> str | None:
        headers = connection.headers
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        token = connection.query_params.get("token") or (bearer if scheme.lower() == "bearer" else None)
        origins = headers.getlist("origin")  # of which a browser sends one
        return self._access.refusal(headers.get("host"), ", ".join(origins) if origins else None, token)

    async def _health(self, request: Request) -> Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return _forbidden(refusal)
        document = {
            "status": "ok",
            "version": version("glus-edge"),
            "source": None if self._settings.source is None else self._settings.source_name,
            "most_sentences": self._settings.most_sentences,
            "most_clients": self._most,
        }
        return JSONResponse(document, headers=_HEADERS)

    async def _ready(self, request: Request) -> Response:
        """Asks the engines' thread for a turn: whether frames that came now would be answered."""
        refusal = self._refusal(request)
        if refusal is not None:
            return _forbidden(refusal)
        try:
            await asyncio.wait_for(asyncio.wrap_future(self._engines.submit(lambda: None)), _READY_S)
        except asyncio.TimeoutError:
            return JSONResponse({"engines": "busy"}, 503, _HEADERS)
        return JSONResponse({"engines": "ready"}, headers=_HEADERS)

    async def _openapi(self, request: Request) -> Response:
        document = json.loads(files("glus_edge.runtime.serving").joinpath("openapi.json").read_bytes())
        document["info"]["version"] = version("glus-edge")
        return JSONResponse(document, headers=_HEADERS)

    async def _live(self, socket: WebSocket) -> None:
        refusal = self._refusal(socket)
        if refusal is not None:
            await socket.send_denial_response(_forbidden(refusal))
            return
        await socket.accept()
        if self._closing:
            await socket.close(WS_1001_GOING_AWAY)
        elif len(self.connections) >= self._most:
            await socket.close(WS_1013_TRY_AGAIN_LATER, f"no place is free: {self._most} at once")
        else:
            connection = LiveConnection(socket, self._engines, self._threads, self._settings)
            self.connections.add(connection)
            try:
                await connection.run()
            finally:
                self.connections.discard(connection)


def _page(name: str, kind: str) -> Callable[[Request], Coroutine[None, None, Response]]:
    body = files("glus_edge.runtime.serving").joinpath(name).read_bytes()

    async def page(request: Request) -> Response:
        return Response(body, headers={**_HEADERS, "Content-Type": kind})

    return page


def _forbidden(refusal: str) -> Response:
    return PlainTextResponse(refusal + "\n", 403, _HEADERS)


async def _upgrade(request: Request) -> Response:
    return PlainTextResponse("expected a WebSocket\n", 426, {**_HEADERS, "Upgrade": "websocket"})


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "Starlette hands over what was registered"
    expected = f"expected GET of /, {LIVE}, {HEALTH}, {READY} or {OPENAPI}\n"
    return PlainTextResponse(expected, error.status_code, {**_HEADERS, **(error.headers or {})})
