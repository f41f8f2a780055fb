"""The server: a page, its health, and live sessions over WebSockets."""

import json
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from http import HTTPStatus
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qsl

from websockets.datastructures import Headers
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.loop.live_session import LiveSession
from glus_edge.runtime.policies.loop_rules import LoopChoice
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.serving.access import access_for
from glus_edge.runtime.serving.live_connection import LiveConnection, LiveSettings

LIVE, HEALTH = "/v1/live", "/v1/health"
LARGEST_MESSAGE = 8 << 20  # bytes of one frame's file

_PAGES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
# The page loads nothing from elsewhere, and no other page may frame it.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src blob:; "
    "connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True)
class ServerSettings:
    """Where the server listens and whom it lets in."""

    host: str = "127.0.0.1"
    port: int = 8000  # 0: one that is free
    token: str | None = None  # None: none is needed on this machine, and one is made where others can reach it
    clients: int = 2  # at once; their frames take turns
    certificate: Path | None = None  # PEM, the private key in the same file or in `key`; None: plain HTTP
    key: Path | None = None


class LiveServer:
    """Listens from the beginning; `run` answers. Use it as a context manager.

    Errors: InputError (address, certificate), and what `open_segmenter` raises.
    """

    def __init__(
        self,
        open_segmenter: Callable[[], Segmenter],
        choice: LoopChoice,
        settings: ServerSettings | None = None,
        live: LiveSettings | None = None,
    ) -> None:
        """`open_segmenter` is called in the thread that will run the engines."""
        self._settings, self._live, self._choice = settings or ServerSettings(), live or LiveSettings(), choice
        self._access = access_for(self._settings.host, self._settings.token)
        self._sockets: set[ServerConnection] = set()  # of the clients that were let in
        self._change = threading.Condition()  # guards `_sockets` and `_closing`
        self._closing = False
        self._page = {path: _page(name, kind) for path, (name, kind) in _PAGES.items()}
        self._server = self._listen()
        self._worker = ThreadPoolExecutor(1, "glus-edge-engines")
        try:
            self._segmenter = self._worker.submit(open_segmenter).result()
        except BaseException:
            self._server.socket.close()
            self._worker.shutdown()
            raise

    @property
    def address(self) -> str:
        """Where the page is, with its token."""
        host, port = self._server.socket.getsockname()[:2]
        scheme = "http" if self._settings.certificate is None else "https"
        shown = f"[{host}]" if ":" in host else host
        return f"{scheme}://{shown}:{port}/" + (f"?token={self._access.token}" if self._access.token else "")

    def run(self) -> None:
        """Answers until `close`."""
        self._server.serve_forever()

    def close(self) -> None:
        """Says goodbye to the clients and lets go of the engines."""
        with self._change:
            self._closing = True
            leaving = list(self._sockets)
        for socket in leaving:  # before websockets 17 its own shutdown leaves them alone
            socket.close(CloseCode.GOING_AWAY)
        self._server.shutdown()
        with self._change:
            self._change.wait_for(lambda: not self._sockets)
        self._worker.submit(self._segmenter.close).result()
        self._worker.shutdown()

    def __enter__(self) -> "LiveServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _listen(self) -> Server:
        settings = self._settings
        try:
            return serve(
                self._client,
                settings.host,
                settings.port,
                ssl=_tls(settings.certificate, settings.key),
                process_request=self._response,
                server_header=None,
                compression=None,  # JPEG and PNG do not get smaller
                max_size=LARGEST_MESSAGE,
            )
        except (OSError, OverflowError) as error:
            said = getattr(error, "strerror", None) or error
            raise InputError(
                f"{settings.host}:{settings.port}: cannot listen there ({said}), expected an address of this machine "
                "and a free port; see --host and --port"
            ) from error

    def _response(self, connection: ServerConnection, request: Request) -> Response | None:
        """A page, a refusal, or None: go on to a live session."""
        path, _, query = request.path.partition("?")
        if path in self._page:
            return self._page[path]
        if path not in (LIVE, HEALTH):
            return connection.respond(HTTPStatus.NOT_FOUND, f"expected /, {LIVE} or {HEALTH}\n")
        token = dict(parse_qsl(query)).get("token")
        refusal = self._access.refusal(request.headers.get("Host"), request.headers.get("Origin"), token)
        if refusal is not None:
            return connection.respond(HTTPStatus.FORBIDDEN, refusal + "\n")
        return self._health() if path == HEALTH else None

    def _health(self) -> Response:
        document = {
            "status": "ok",
            "version": version("glus-edge"),
            "source": None if self._live.source is None else self._live.source_name,
            "most_sentences": self._live.most_sentences,
            "most_clients": self._settings.clients,
        }
        return _answer(json.dumps(document).encode(), "application/json")

    def _client(self, socket: ServerConnection) -> None:
        with self._change:
            closing, full = self._closing, len(self._sockets) >= self._settings.clients
            if not closing and not full:
                self._sockets.add(socket)
        if closing:
            socket.close(CloseCode.GOING_AWAY)
        elif full:
            socket.close(CloseCode.TRY_AGAIN_LATER, f"no place is free: {self._settings.clients} at once")
        else:
            try:
                LiveConnection(socket, self._worker, self._open_session, self._live).run()
            finally:
                with self._change:
                    self._sockets.discard(socket)
                    self._change.notify_all()

    def _open_session(self) -> LiveSession:
        return self._segmenter.stream([], **asdict(self._choice))


def _page(name: str, kind: str) -> Response:
    return _answer(files("glus_edge.runtime.serving").joinpath(name).read_bytes(), kind)


def _answer(body: bytes, kind: str) -> Response:
    headers = {
        "Content-Type": kind,
        "Content-Length": str(len(body)),
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",  # the address may hold the token
        "Cache-Control": "no-cache",
        "Connection": "close",
    }
    return Response(HTTPStatus.OK, "OK", Headers(headers), body)


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        if key is not None:
            raise InputError(f"key: got {key} without a certificate, expected both; see --certificate")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            f"{certificate}: cannot be used as a certificate ({error}), expected PEM files of a certificate and its key"
        ) from error
    return context
