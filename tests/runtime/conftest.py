import signal
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

VideoWriter = Callable[..., Path]


def picture(index: int, height: int, width: int) -> NDArray[np.uint8]:
    """A smooth picture whose brightness tells its number: codecs keep it well enough to tell frames apart."""
    across = np.linspace(0, 60, width)[None, :, None]
    down = np.linspace(0, 40, height)[:, None, None]
    return np.uint8(np.broadcast_to(across + down + 5 * (index % 25) + np.array([0, 10, 20]), (height, width, 3)))


@pytest.fixture
def write_video(tmp_path: Path) -> VideoWriter:
    """Writes a small video; `times` are presentation times in milliseconds, one per frame."""

    def write(
        name: str = "clip.mp4",
        *,
        frames: int = 30,
        size: tuple[int, int] = (48, 64),
        codec: str = "libx264",
        pixels: str = "yuv420p",
        times: Sequence[int] | None = None,
        rate: int = 20,
        options: dict[str, str] | None = None,
        container_options: dict[str, str] | None = None,
    ) -> Path:
        path = tmp_path / name
        height, width = size
        with av.open(str(path), "w", options=container_options or {}) as container:
            stream: Any = container.add_stream(codec, rate=rate, options=options or {})
            stream.width, stream.height, stream.pix_fmt = width, height, pixels
            if times is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
            for index in range(frames):
                frame = av.VideoFrame.from_ndarray(picture(index, height, width), format="rgb24")
                if times is not None:
                    frame.pts, frame.time_base = times[index], Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture
def heeded_ctrl_c() -> Iterator[None]:
    """SIGINT is a KeyboardInterrupt, whatever started the tests: a shell's background job ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
