"""Small inputs of many kinds, made on the spot. A frame's brightness tells its number: see `numbers`."""

import os
import struct
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray
from PIL import Image

from glus_edge.runtime.video.video import Video
from tests.runtime.conftest import picture

Rgb = NDArray[np.uint8]
SIZE = (48, 64)


def numbers(video: Video) -> list[int]:
    """Which of the pictures made here each frame shows, by its brightness."""
    return [round((float(frame.rgb.mean()) - float(picture(0, *SIZE).mean())) / 5) for frame in video.frames()]


def film(
    path: Path,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    frames: int = 8,
    size: tuple[int, int] = SIZE,
    times: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    aspect: int = 1,
) -> Path:
    """A film; `times`: milliseconds at which its frames are shown."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=10, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if aspect != 1:
            stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(index, *size), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def film_with_companion(path: Path, disposition: Disposition, *, first: bool) -> Path:
    """A film beside a stream of one larger picture."""
    with av.open(str(path), "w") as container:

        def companion() -> Any:
            stream: Any = container.add_stream("mjpeg", rate=10)
            stream.height, stream.width, stream.pix_fmt = 96, 128, "yuvj420p"
            stream.disposition = disposition
            return stream

        beside = companion() if first else None
        main: Any = container.add_stream("libx264", rate=10)
        main.height, main.width, main.pix_fmt = *SIZE, "yuv420p"
        main.disposition = Disposition.default
        beside = beside or companion()
        container.mux(beside.encode(av.VideoFrame(128, 96, "yuvj420p")))
        for index in range(8):
            container.mux(main.encode(av.VideoFrame.from_ndarray(picture(index, *SIZE), format="rgb24")))
        for stream in (beside, main):
            container.mux(stream.encode())
    return path


def destroyed(path: Path, *frames: int) -> Path:
    """Fills the content of coded frames with zeros."""
    data = path.read_bytes()
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    for number in frames:
        data = data.replace(packets[number], bytes(len(packets[number])))
    path.write_bytes(data)
    return path


def cut(path: Path, frame: int) -> Path:
    """Ends a file where a coded frame begins."""
    with av.open(str(path)) as container:
        position = [packet.pos for packet in container.demux(video=0) if packet.size][frame]
    assert position is not None
    path.write_bytes(path.read_bytes()[:position])
    return path


def animation(path: Path) -> Path:
    """Eight pictures in a file of Pillow's making."""
    first, *others = (Image.fromarray(picture(index, *SIZE)) for index in range(8))
    first.save(path, save_all=True, append_images=others, duration=100)
    return path


def still(path: Path, index: int = 0, *, mode: str = "RGB", orientation: int = 1, size: tuple[int, int] = SIZE) -> Path:
    """One picture file, whatever its name's suffix."""
    image = Image.fromarray(picture(index, *size))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)
    elif mode != "RGB":
        image = image.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, exif=exif)
    return path


def empty_png(path: Path, width: int, height: int) -> Path:
    """A small file that states a size and holds no pixel."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def folder(path: Path, *names: str) -> Path:
    """A folder of pictures, in the order in which they are to be shown."""
    for index, name in enumerate(names):
        still(path / name, index)
    return path


def pipe(path: Path) -> Path:
    """A named pipe into which nobody writes."""
    os.mkfifo(path)
    return path
