"""Uvicorn's connections with limits of time: a socket that says or reads nothing is not kept."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

FIRST_REQUEST_S = 10.0  # from a connection to its first whole request
LAST_WORDS_S = 3.0  # for which what was sent to a client that is done with may wait to be read


class Http(H11Protocol):
    """HTTP/1.1; a connection without a request is closed."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the event loop."""
        super().connection_made(transport)
        self.loop.call_later(FIRST_REQUEST_S, self._close_unused)

    def _close_unused(self) -> None:
        if self.cycle is None and self.transport.get_protocol() is self:  # else it was upgraded
            self.transport.abort()


class WebSockets(WebSocketsSansIOProtocol):
    """A client that does not read does not keep its connection after its session."""

    def on_task_complete(self, task: "asyncio.Task[None]") -> None:
        """Called when the session has ended."""
        super().on_task_complete(task)
        self.loop.call_later(LAST_WORDS_S, self.transport.abort)
