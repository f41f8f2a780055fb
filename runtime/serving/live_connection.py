"""One client's live session: its messages are carried out as they come, every frame is answered with its masks."""

import asyncio
import base64
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from starlette.status import WS_1000_NORMAL_CLOSURE, WS_1011_INTERNAL_ERROR
from starlette.websockets import WebSocket, WebSocketDisconnect

from glus_edge.runtime.errors import GlusEdgeError, InputError
from glus_edge.runtime.loop.live_results import live_results
from glus_edge.runtime.loop.live_session import LiveSession
from glus_edge.runtime.loop.result import FrameResult
from glus_edge.runtime.output.mask_png import png_from_mask
from glus_edge.runtime.output.stream_record import stream_record
from glus_edge.runtime.serving.engine_thread import EngineThread
from glus_edge.runtime.serving.messages import Add, command_from_text, error_text, frame_text, sentences_text
from glus_edge.runtime.serving.pushed_frames import PushedFrames
from glus_edge.runtime.video.live_source import LiveSource
from glus_edge.runtime.video.picture_size import LARGEST_PICTURE

T = TypeVar("T")

_JPEG_QUALITY = 80  # of the server's own frames on their way to the page
_LONGEST_CLOSE_S = 1.0  # for which a close frame may wait behind what a client does not read


@dataclass(frozen=True)
class LiveSettings:
    """What is the same for all clients."""

    source: str | None = None  # of the frames, which may hold a password; None: the client sends them
    source_name: str = "the server's source"  # as clients are told
    reconnect_s: float = 0.0  # for which a source that was lost is sought again
    deadline_ms: float | None = None  # from a frame's arrival to its masks
    most_sentences: int = 8  # of one client
    largest_picture: int = LARGEST_PICTURE  # pixels of a frame that a client sends
    silence_s: float = 60.0  # after which a client that should send frames is taken to have left
    unread_s: float = 10.0  # for which a message may wait for a client to read it, before the client is given up


class ClientLeftError(Exception):
    """Nothing more can be sent to a client: it has left, does not read, or was said goodbye to."""


class LiveConnection:
    """One client. The event loop reads its messages; a thread of its own decodes, asks for masks and encodes them."""

    def __init__(self, socket: WebSocket, engines: EngineThread, threads: Executor, settings: LiveSettings) -> None:
        """`threads`: one of them is taken while the client is here. The socket has been accepted."""
        self._socket, self._engines, self._threads, self._settings = socket, engines, threads, settings
        self._loop = asyncio.get_running_loop()
        self._session: LiveSession | None = None  # used in the engines' thread alone
        self._texts: tuple[str, ...] = ()  # of the sentences the answering thread's frame was asked about
        self._sending: Future[None] | None = None  # the answering thread's message on its way
        self._left = False

    async def run(self) -> None:
        """Until the client leaves, falls silent or stops reading, or the source ends. The socket is closed then."""
        try:
            await self._in_engines(self._open_session)
            frames = await self._loop.run_in_executor(None, self._open_frames)
        except GlusEdgeError as error:  # no memory for a session, or the source cannot be opened
            with suppress(ClientLeftError):
                await self._send(error_text(error))
                await self.close(WS_1011_INTERNAL_ERROR, "see the last message")
        else:
            await self._converse(frames)
        finally:
            await self._in_engines(self._close_session)

    async def close(self, code: int, reason: str) -> None:
        """Says goodbye; nothing is sent after it."""
        if self._left:
            return
        self._left = True
        with suppress(WebSocketDisconnect, asyncio.TimeoutError):
            await asyncio.wait_for(self._socket.close(code, reason), _LONGEST_CLOSE_S)

    async def _converse(self, frames: PushedFrames | LiveSource) -> None:
        """Reads and answers side by side, until one of them ends."""
        answering = self._loop.run_in_executor(self._threads, self._answer, frames)
        reading = asyncio.create_task(self._read(frames if isinstance(frames, PushedFrames) else None))
        try:
            await asyncio.wait({answering, reading}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._left = True
            reading.cancel()
            if self._sending is not None:
                self._sending.cancel()
            await self._loop.run_in_executor(None, frames.close)
            await asyncio.wait({answering, reading})
        for ended in (answering, reading):
            if not ended.cancelled():
                ended.result()  # raises what was not foreseen

    async def _read(self, frames: PushedFrames | None) -> None:
        """Takes the client's messages until it leaves."""
        silence_s = None if frames is None else self._settings.silence_s
        with suppress(ClientLeftError):
            while True:
                try:
                    message = await asyncio.wait_for(self._socket.receive(), silence_s)
                except asyncio.TimeoutError:
                    await self.close(WS_1000_NORMAL_CLOSURE, f"nothing came for {silence_s:g} s")
                    return
                if message["type"] == "websocket.disconnect":
                    return
                if (text := message.get("text")) is not None:
                    await self._carry_out(text)
                elif frames is None:
                    error = f"frame: got one, expected none: they come from {self._settings.source_name}"
                    await self._send(error_text(error))
                else:
                    frames.put(message["bytes"])

    async def _carry_out(self, message: str) -> None:
        try:
            sentences = await self._in_engines(partial(self._changed, message))
        except InputError as error:
            await self._send(error_text(error))
        else:
            await self._send(sentences_text(sentences))

    async def _send(self, message: str | bytes) -> None:
        """ClientLeftError: it cannot be sent, or was not read in time."""
        if self._left:
            raise ClientLeftError
        send = self._socket.send_text(message) if isinstance(message, str) else self._socket.send_bytes(message)
        try:
            await asyncio.wait_for(send, self._settings.unread_s)
        except (WebSocketDisconnect, asyncio.TimeoutError) as error:
            self._left = True
            raise ClientLeftError from error

    async def _in_engines(self, work: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._engines.submit(work))

    def _answer(self, frames: PushedFrames | LiveSource) -> None:
        """Sends the masks of the newest frame, and again. Runs in a thread; so does everything below."""
        try:
            for each in live_results(frames, self._push, self._settings.deadline_ms):
                if isinstance(frames, LiveSource):
                    self._post(self._send, _jpeg(each.arrival.rgb))
                masks = [_png(mask) if mask.any() else None for mask in each.result.masks]
                self._post(self._send, frame_text(stream_record(*each), self._texts, masks))
            self._post(self.close, WS_1000_NORMAL_CLOSURE, "the source has ended")
            self._wait_until_sent()
        except ClientLeftError:
            return
        except GlusEdgeError as error:  # the source broke off, an engine failed
            with suppress(ClientLeftError):
                self._post(self._send, error_text(error))
                self._post(self.close, WS_1011_INTERNAL_ERROR, "see the last message")
                self._wait_until_sent()
        except BaseException:
            with suppress(ClientLeftError):
                self._post(self.close, WS_1011_INTERNAL_ERROR, "the server failed")
                self._wait_until_sent()
            raise

    def _post(self, send: Callable[..., Coroutine[None, None, None]], *arguments: str | bytes | int) -> None:
        """Hands a message to the event loop, once the one before has been sent: one is on its way at a time.

        The next frame is taken while it goes out. ClientLeftError: the one before could not be sent.
        """
        self._wait_until_sent()
        self._sending = asyncio.run_coroutine_threadsafe(send(*arguments), self._loop)
        if self._left:  # set by the event loop just before it looked for what is on its way
            self._sending.cancel()

    def _wait_until_sent(self) -> None:
        try:
            if self._sending is not None:
                self._sending.result()
        except CancelledError as error:
            raise ClientLeftError from error

    def _push(self, rgb: NDArray[np.uint8], *, may_ask: bool) -> FrameResult:
        def push() -> FrameResult:
            self._texts = self._opened().sentences
            return self._opened().push(rgb, may_ask=may_ask)

        return self._engines.submit(push).result()

    def _refuse(self, error: InputError) -> None:
        self._post(self._send, error_text(error))

    def _open_frames(self) -> PushedFrames | LiveSource:
        settings = self._settings
        if settings.source is None:
            return PushedFrames(self._refuse, largest=settings.largest_picture)
        return LiveSource(settings.source, reconnect_s=settings.reconnect_s)

    def _open_session(self) -> None:
        self._session = self._engines.open_session()

    def _close_session(self) -> None:
        self._session = None

    def _opened(self) -> LiveSession:
        assert self._session is not None, "a session is there from first to last"
        return self._session

    def _changed(self, message: str) -> tuple[str, ...]:
        """The sentences after a command. InputError: it cannot be carried out."""
        command, session = command_from_text(message), self._opened()
        if isinstance(command, Add):
            count, most = len(session.sentences) + len(command.sentences), self._settings.most_sentences
            if count > most:
                raise InputError(f"add: got {count} sentences with those there are, expected at most {most}")
            session.add(*command.sentences)
        else:
            session.remove(command.number)
        return session.sentences


def _png(mask: NDArray[np.bool_]) -> str:
    return base64.b64encode(png_from_mask(mask)).decode("ascii")


def _jpeg(rgb: NDArray[np.uint8]) -> bytes:
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return data.tobytes()
