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

    _refused = False  # a message was, and the client has been told

    def on_task_complete(self, task: "asyncio.Task[None]") -> None:
        """Called when the session has ended."""
        super().on_task_complete(task)
        self.loop.call_later(LAST_WORDS_S, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop; what comes behind a message that was refused is read and dropped."""
        if not self._refused:
            super().data_received(data)

    def handle_parser_exception(self) -> None:
        """Called for a message that breaks the protocol or is too long.

        Uvicorn closes the socket at once. The client is then still sending, and its kernel drops the close frame, which
        says why, with the connection. So the connection stays until the client has closed it or its time is up.
        """
        assert self.conn.close_sent is not None
        self._refused = self.close_sent = True
        code, reason = self.conn.close_sent.code, self.conn.close_sent.reason
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_timer = self.loop.call_later(LAST_WORDS_S, self.transport.close)
