"""The server: it listens, opens the engines and answers until it is told to end."""

import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import uvicorn

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.policies.loop_rules import LoopChoice
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.serving.access import access_for
from glus_edge.runtime.serving.app import LARGEST_MESSAGE, LiveApp
from glus_edge.runtime.serving.engine_thread import EngineThread
from glus_edge.runtime.serving.live_connection import LiveSettings
from glus_edge.runtime.serving.uvicorn_protocols import Http, WebSockets

_BACKLOG = 128  # connections that wait to be accepted
_GRACE_S = 5  # for which the end waits for answers on their way


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
        self._settings = settings = settings or ServerSettings()
        self._access = access_for(settings.host, settings.token)
        _check_tls(settings)
        self.listener = _listening(settings)
        self._running = threading.Lock()  # held by `run`
        try:
            self._engines = EngineThread(open_segmenter, choice)
        except BaseException:
            self.listener.close()
            raise
        self.app = LiveApp(self._engines, self._access, settings.clients, live or LiveSettings())
        self._uvicorn = _Uvicorn(_config(settings, self.app), self.app)
        self.address = self._address()  # where the page is, with its token

    def run(self) -> None:
        """Answers until `close`, SIGINT or SIGTERM; in the main thread these then raise as they do without a server."""
        with self._running:
            self._uvicorn.run([self.listener])

    def close(self) -> None:
        """Says goodbye to the clients and releases the engines."""
        self._uvicorn.should_exit = True
        with self._running:
            self.listener.close()
        self.app.close()
        self._engines.close()

    def __enter__(self) -> "LiveServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _address(self) -> str:
        host, port = self.listener.getsockname()[:2]
        scheme = "http" if self._settings.certificate is None else "https"
        shown = f"[{host}]" if ":" in host else host
        return f"{scheme}://{shown}:{port}/" + (f"?token={self._access.token}" if self._access.token else "")


class _Uvicorn(uvicorn.Server):
    """Clients are told that the server goes away, before their connections are closed."""

    def __init__(self, config: uvicorn.Config, app: LiveApp) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._app.say_goodbye()
        await super().shutdown(sockets)


def _config(settings: ServerSettings, app: LiveApp) -> uvicorn.Config:
    return uvicorn.Config(
        app.asgi,
        loop="asyncio",
        http=Http,
        ws=WebSockets,
        ws_max_size=LARGEST_MESSAGE,
        ws_per_message_deflate=False,  # JPEG and PNG do not get smaller
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
    )


def _listening(settings: ServerSettings) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host or None, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server((str(address[0]), settings.port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError, UnicodeError) as error:
        said = getattr(error, "strerror", None) or error
        raise InputError(
            f"{settings.host}:{settings.port}: cannot listen there ({said}), expected an address of this machine "
            "and a free port; see --host and --port"
        ) from error


def _check_tls(settings: ServerSettings) -> None:
    certificate, key = settings.certificate, settings.key
    if certificate is None:
        if key is not None:
            raise InputError(f"key: got {key} without a certificate, expected both; see --certificate")
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            f"{certificate}: cannot be used as a certificate ({error}), expected PEM files of a certificate and its key"
        ) from error
