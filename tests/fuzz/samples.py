"""Small whole files of many formats, made on the spot: what mutated inputs are made of."""

from functools import cache
from io import BytesIO

import av
import numpy as np
from PIL import Image

from tests.runtime.conftest import picture

# Suffix, codec, pixel format and options of the encoder.
VIDEOS = (
    ("mp4", "libx264", "yuv420p", {"g": "5", "bf": "2"}),
    ("mkv", "libx264", "yuv420p", {"g": "5"}),
    ("avi", "mjpeg", "yuvj420p", {}),
    ("avi", "mpeg4", "yuv420p", {"g": "5", "bf": "1"}),
    ("webm", "libvpx-vp9", "yuv420p", {"g": "5"}),
    ("ts", "mpeg2video", "yuv420p", {"g": "5"}),
    ("mov", "qtrle", "argb", {}),
    ("flv", "flv1", "yuv420p", {"g": "5"}),
    ("nut", "rawvideo", "gray", {}),
    ("mkv", "ffv1", "yuv420p10le", {}),
    ("gif", "gif", "rgb8", {}),
    ("apng", "apng", "rgb24", {}),
)
IMAGES = ("JPEG", "PNG", "WEBP")


@cache
def video(number: int) -> tuple[str, bytes]:
    """Suffix and content of a film of eight frames."""
    suffix, codec, pixels, options = VIDEOS[number]
    file = BytesIO()
    with av.open(file, "w", format={"mkv": "matroska", "ts": "mpegts"}.get(suffix, suffix)) as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.height, stream.width, stream.pix_fmt = 32, 48, pixels
        for index in range(8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index, 32, 48), format="rgb24")))
        container.mux(stream.encode())
    return suffix, file.getvalue()


@cache
def image(kind: str) -> bytes:
    """A picture file with an orientation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    file = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)).save(file, kind, exif=exif)
    return file.getvalue()
