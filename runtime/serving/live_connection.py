"""One client's live session: its messages are carried out as they come, every frame is answered with its masks."""

import base64
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.sync.server import ServerConnection

from glus_edge.runtime.errors import GlusEdgeError, InputError
from glus_edge.runtime.loop.live_results import live_results
from glus_edge.runtime.loop.live_session import LiveSession
from glus_edge.runtime.loop.result import FrameResult
from glus_edge.runtime.output.mask_png import png_from_mask
from glus_edge.runtime.output.stream_record import stream_record
from glus_edge.runtime.serving.messages import Add, command_from_text, error_text, frame_text, sentences_text
from glus_edge.runtime.serving.pushed_frames import PushedFrames
from glus_edge.runtime.video.live_source import LiveSource

T = TypeVar("T")

_JPEG_QUALITY = 80  # of the server's own frames on their way to the page


@dataclass(frozen=True)
class LiveSettings:
    """What is the same for all clients."""

    source: str | None = None  # of the frames, which may hold a password; None: the client sends them
    source_name: str = "the server's source"  # as clients are told
    reconnect_s: float = 0.0  # for which a source that was lost is sought again
    deadline_ms: float | None = None  # from a frame's arrival to its masks
    most_sentences: int = 8  # of one client
    silence_s: float = 60.0  # after which a client that should send frames is taken to have left


class LiveConnection:
    """One client. Everything that touches engines or device memory runs in `worker`, which has a single thread."""

    def __init__(
        self,
        socket: ServerConnection,
        worker: Executor,
        open_session: Callable[[], LiveSession],
        settings: LiveSettings,
    ) -> None:
        self._socket, self._worker, self._settings = socket, worker, settings
        self._open_session = open_session
        self._session: LiveSession | None = None  # used in `worker` alone
        self._failure: BaseException | None = None

    def run(self) -> None:
        """Until the client leaves or falls silent, or the source ends. The socket is closed then."""
        try:
            self._in_worker(self._begin)
            settings = self._settings
            source = settings.source
            frames = (
                PushedFrames(self._refuse) if source is None else LiveSource(source, reconnect_s=settings.reconnect_s)
            )
            answering = threading.Thread(target=self._answer, args=(frames,), name="glus-edge-client")
            answering.start()
            try:
                self._read(frames if isinstance(frames, PushedFrames) else None)
            finally:
                frames.close()
                answering.join()
        except GlusEdgeError as error:  # no memory for a session, or the source cannot be opened
            self._end(error)
        finally:
            self._in_worker(self._close_session)
        if self._failure is not None:
            raise self._failure

    def _read(self, frames: PushedFrames | None) -> None:
        """Takes the client's messages until it leaves."""
        try:
            while True:
                message = self._socket.recv(None if frames is None else self._settings.silence_s)
                if isinstance(message, str):
                    self._carry_out(message)
                elif frames is None:
                    self._refuse(
                        InputError(f"frame: got one, expected none: they come from {self._settings.source_name}")
                    )
                else:
                    frames.put(message)
        except TimeoutError:
            self._socket.close(CloseCode.NORMAL_CLOSURE, f"nothing came for {self._settings.silence_s:g} s")
        except ConnectionClosed:
            return

    def _carry_out(self, message: str) -> None:
        try:
            sentences = self._in_worker(partial(self._changed, message))
        except InputError as error:
            self._refuse(error)
        else:
            self._socket.send(sentences_text(sentences))

    def _answer(self, frames: PushedFrames | LiveSource) -> None:
        """Sends the masks of the newest frame, and again, in a thread of its own."""
        try:
            for each in live_results(frames, self._push, self._settings.deadline_ms):
                if isinstance(frames, LiveSource):
                    self._socket.send(_jpeg(each.arrival.rgb))
                masks = [_png(mask) if mask.any() else None for mask in each.result.masks]
                self._socket.send(frame_text(stream_record(*each), masks))
            self._socket.close(CloseCode.NORMAL_CLOSURE, "the source has ended")
        except ConnectionClosed:
            return
        except GlusEdgeError as error:  # the source broke off, an engine failed
            self._end(error)
        except BaseException as error:  # noqa: BLE001 - raised by `run`
            self._failure = error
            self._socket.close(CloseCode.INTERNAL_ERROR, "the server failed")

    def _push(self, rgb: NDArray[np.uint8], *, may_ask: bool) -> FrameResult:
        return self._in_worker(lambda: self._opened().push(rgb, may_ask=may_ask))

    def _refuse(self, error: InputError) -> None:
        self._socket.send(error_text(error))

    def _end(self, error: GlusEdgeError) -> None:
        try:
            self._socket.send(error_text(error))
        except ConnectionClosed:
            return
        self._socket.close(CloseCode.INTERNAL_ERROR, "see the last message")

    def _in_worker(self, work: Callable[[], T]) -> T:
        return self._worker.submit(work).result()

    def _begin(self) -> None:
        self._session = self._open_session()

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
