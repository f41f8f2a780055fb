"""The structure of a Matroska or WebM file (RFC 8794, RFC 9559): where it is broken, and where it states to end.

FFmpeg skips to the next cluster at a broken place without a word, and the frames between are gone.
"""

import mmap
from pathlib import Path
from typing import NamedTuple

BEGIN = b"\x1aE\xdf\xa3"  # how such files begin
_SEGMENT, _CLUSTER = b"\x18S\x80g", b"\x1fC\xb6u"
_SIMPLE_BLOCK = b"\xa3"
_KNOWN = frozenset(
    bytes.fromhex(identifier)
    for identifier in (
        *("1A45DFA3", "18538067", "114D9B74", "1549A966", "1654AE6B", "1F43B675", "1C53BB6B", "1941A469", "1043A770"),
        *("1254C367", "EC", "BF", "E7", "5854", "A7", "AB", "A3", "A0", "AF"),
    )
)


class MatroskaStructure(NamedTuple):
    """What a walk over all elements found."""

    end: int | None  # byte where the Segment states to end; None: it states none, as in recordings of live streams
    broken: tuple[int, ...]  # bytes where no element begins though one should


def matroska_structure(path: Path) -> MatroskaStructure:
    """Reads the head of each element, not its content. Errors: OSError, ValueError of an empty file."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _walked(data)


def _walked(data: mmap.mmap) -> MatroskaStructure:
    size, position, end = len(data), 0, None
    broken: list[int] = []
    while position < (size if end is None else min(size, end)):
        element = _element(data, position)
        if element is None or (element[0] not in _KNOWN and not _follows(data, element[2])):
            if not any(data[position : min(size, position + (1 << 16))]):  # a file filled up with zeros
                break
            broken.append(position)
            position = data.find(_CLUSTER, position + 1)
            if position < 0:
                break
            continue
        identifier, content, after = element
        if identifier == _SEGMENT:
            end = after
        if identifier == _SIMPLE_BLOCK and content < size and not data[content]:  # it begins with its track's number
            broken.append(position)
        if after is None and identifier not in (_SEGMENT, _CLUSTER):
            break
        position = content if identifier in (_SEGMENT, _CLUSTER) or after is None else after
    return MatroskaStructure(end, tuple(broken))


def _follows(data: mmap.mmap, position: int | None) -> bool:
    """Whether another element, or the end, follows there: then the one before may be of a kind that is not known here."""
    if position is None or position >= len(data):
        return position == len(data)
    element = _element(data, position)
    return element is not None and element[0] in _KNOWN


def _element(data: mmap.mmap, position: int) -> tuple[bytes, int, int | None] | None:
    """Identifier, first byte of the content and end (None: unknown) of the element there; None: there is none."""
    head = data[position : position + 12]
    if not head or not head[0] & 0xF0:
        return None
    width = 9 - head[0].bit_length()
    if len(head) <= width or not head[width]:
        return None
    digits = 9 - head[width].bit_length()
    mask = (1 << 7 * digits) - 1
    length = int.from_bytes(head[width : width + digits], "big") & mask
    content = position + width + digits
    return head[:width], content, None if length == mask else content + length
