"""A recording that comes like a camera's pictures: at its rate, the newest frame each time, whoever keeps up."""

import threading
import time
from dataclasses import dataclass

from glus_edge.benchmarks.profiler.timed_video import TimedVideo
from glus_edge.runtime.video.frame import Frame


@dataclass(frozen=True, eq=False)
class Arrival:
    """A frame that waits to be worked on."""

    frame: Frame
    number: int  # among all frames of its source, from 0
    arrived: float  # by time.perf_counter: when it was due, before it was decoded
    decode_ms: float


class PacedSource:
    """One source with a thread that decodes every frame when it is due. A frame nobody took is replaced by the next."""

    def __init__(self, video: TimedVideo, frames: int, rate: float, news: threading.Condition) -> None:
        """`frames` of the video at `rate` a second; `news` is notified of each."""
        self._video, self._frames, self._rate, self._news = video, frames, rate, news
        self.newest: Arrival | None = None  # read and taken under `news`
        self.over = False
        self.sent = self.skipped = 0
        self.error: BaseException | None = None
        self._stopped = threading.Event()
        self._begin = 0.0
        self._thread = threading.Thread(target=self._run, name="glus-edge-source", daemon=True)

    def start(self, begin: float) -> None:
        """The first frame is due at `begin`, by time.perf_counter."""
        self._begin = begin
        self._thread.start()

    def take(self) -> Arrival | None:
        """The newest frame, which then waits no more. Call it under `news`."""
        arrival, self.newest = self.newest, None
        return arrival

    def close(self) -> None:
        """Ends the thread and the video."""
        self._stopped.set()
        self._thread.join()
        self._video.close()

    def _run(self) -> None:
        try:
            self._follow()
        except BaseException as error:  # noqa: BLE001 - raised by the loop that takes the frames
            self.error = error
        with self._news:
            self.over = True
            self._news.notify()

    def _follow(self) -> None:
        frames = self._video.frames(0, self._frames)
        for number in range(self._frames):
            due = self._begin + number / self._rate
            if self._stopped.wait(max(0.0, due - time.perf_counter())):
                return
            frame = next(frames)
            arrival = Arrival(frame, number, due, self._video.decode_ms(frame.index))
            with self._news:
                self.sent += 1
                self.skipped += self.newest is not None
                self.newest = arrival
                self._news.notify()
