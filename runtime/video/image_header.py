"""What the headers of JPEG, PNG and WebP files tell, without decoding a pixel: size, wholeness, animation."""

from collections.abc import Iterator
from typing import NamedTuple

from glus_edge.runtime.video.container import is_animated_webp

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"  # how the files begin
# Start-of-frame markers of JPEG (ITU-T T.81, table B.1): C0 to CF without the tables C4, C8 and CC.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class ImageHeader(NamedTuple):
    """A picture file, as its headers describe it."""

    width: int  # pixels, as stored; 0 if the file does not come as far
    height: int  # pixels, as stored
    whole: bool  # the file goes on to the picture's end
    animated: bool  # it holds several pictures


def is_image(head: bytes) -> bool:
    """Whether a file that begins with these bytes (12 or more) is a JPEG, PNG or WebP."""
    return head.startswith((_JPEG, _PNG)) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def image_header(data: bytes) -> ImageHeader:
    """Of a file that `is_image`; what follows the picture in it is left alone."""
    if data.startswith(_JPEG):
        return _jpeg(data)
    return _png(data) if data.startswith(_PNG) else _webp(data)


def _jpeg(data: bytes) -> ImageHeader:
    """Whole if the end-of-image marker follows the picture's own scan (an embedded thumbnail has one, too)."""
    width = height = 0
    for marker, position in _segments(data):
        if marker in _FRAME_MARKERS:
            height = int.from_bytes(data[position + 5 : position + 7], "big")
            width = int.from_bytes(data[position + 7 : position + 9], "big")
        elif marker == 0xDA:
            return ImageHeader(width, height, data.find(b"\xff\xd9", position) >= 0, animated=False)
    return ImageHeader(width, height, whole=False, animated=False)


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and position of each segment up to the first scan."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        yield marker, position
        # Fill bytes and markers without a payload are one and two bytes long, all others carry their length.
        if marker == 0xFF:
            position += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")


def _png(data: bytes) -> ImageHeader:
    width, height = (int.from_bytes(data[begin : begin + 4], "big") for begin in (16, 20))
    animated, position = False, len(_PNG)
    while position + 12 <= len(data):
        kind = data[position + 4 : position + 8]
        animated = animated or kind == b"acTL"
        if kind == b"IEND":
            return ImageHeader(width, height, True, animated)
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    return ImageHeader(width, height, False, animated)


def _webp(data: bytes) -> ImageHeader:
    """RFC 9649: the first chunk is a lossy (VP8), a lossless (VP8L) or an extended (VP8X) picture."""
    kind, content = data[12:16], data[20:30]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(content[begin : begin + 3], "little") for begin in (4, 7))
    elif kind == b"VP8L":
        bits = int.from_bytes(content[1:5], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (int.from_bytes(content[begin : begin + 2], "little") & 0x3FFF for begin in (6, 8))
    whole = 8 + int.from_bytes(data[4:8], "little") <= len(data)
    return ImageHeader(width, height, whole, is_animated_webp(data))
