"""What the first bytes and the outermost boxes of a video file tell: what it is, and whether its end is missing."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from glus_edge.runtime.video.matroska import BEGIN as MATROSKA
from glus_edge.runtime.video.matroska import matroska_structure
from glus_edge.runtime.video.playlist import BEGIN as PLAYLIST
from glus_edge.runtime.video.playlist import is_nested, special_entry

_HEAD = 1 << 16  # bytes that tell what a file is
_LARGEST_INDEX = 64 << 20  # bytes of an MP4's index that are searched
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"styp", b"sidx", b"pnot", b"uuid")
_CONTENT_ENCRYPTION = re.compile(rb"\x6d\x80.{1,40}?\x50\x35", re.DOTALL)  # ContentEncodings ... ContentEncryption
_ENCRYPTED_SAMPLES = b"encv\0\0\0\0\0\0"  # ISO/IEC 23001-7: a sample entry of this type holds encrypted video
_ENCRYPTED_ASF = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e")  # Content Encryption Object

# Files that are taken for videos and are none, by how they begin.
_NO_VIDEO = (
    (b"version https://git-lfs", "a Git LFS pointer in place of the file", "fetch it with `git lfs pull`"),
    (b"Salted__", "a file encrypted by OpenSSL", "decrypt it first"),
    (b"age-encryption.org/", "a file encrypted by age", "decrypt it first"),
    (b"-----BEGIN PGP MESSAGE", "a file encrypted by PGP", "decrypt it first"),
    (b"PK\x03\x04", "a ZIP archive", "unpack it first"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it first"),
    (b"<!DOCTYPE", "a web page", "download the video itself"),
    (b"<html", "a web page", "download the video itself"),
    (b"%PDF", "a PDF document", "export its pictures as PNG files"),
)
_FRAMES = "make a folder of PNG frames of it, or an MP4 video"


def what_it_is(path: Path) -> str | None:
    """What a file is that cannot be read as a video, and what to do; None: nothing is known against it."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            for begin, kind, remedy in _NO_VIDEO:
                if head.lstrip()[: len(begin)].lower() == begin.lower():
                    return f"{kind}, expected a video; {remedy}"
            if is_animated_webp(head):
                return f"an animated WebP, which FFmpeg does not decode, expected another format; {_FRAMES}"
            if head.startswith((b"II*\0", b"MM\0*")) and _tiff_pages(file) > 1:
                return f"a TIFF of several pages, of which only the first would be read; {_FRAMES}"
            if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(PLAYLIST):
                if is_nested(path):
                    return "a playlist of playlists of playlists, expected one of segments or of playlists of segments"
                special = special_entry(path)
                if special is not None:
                    return f"a playlist that names {special.name}, which is no regular file; expected files of segments"
            if _is_encrypted(file, head):
                return "an encrypted video, expected one without digital rights management; decrypt it first"
    except OSError:  # whoever opens it says what is the matter
        return None
    return None


def is_animated_webp(head: bytes) -> bool:
    """Whether a WebP file, of which at least 21 bytes are given, holds several pictures."""
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) > 20 and bool(head[20] & 2)


def cut_off(path: Path) -> str | None:
    """How much of a file is missing by its own outermost boxes; None: nothing, or its format does not tell.

    A stated duration is no evidence: it is that of the longest stream, of subtitles as well.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            end = _stated_end(path, file, size)
    except OSError:
        return None
    if end is None or end <= size:
        return None
    return f"the end of the file at {size} bytes of the {end} it states"


def broken_places(path: Path) -> tuple[int, ...]:
    """Bytes where the structure of a Matroska file is broken; of other formats, demuxer and decoder tell."""
    try:
        with path.open("rb") as file:
            if file.read(4) != MATROSKA:
                return ()
        return matroska_structure(path).broken
    except OSError:
        return ()


def _stated_end(path: Path, file: BinaryIO, size: int) -> int | None:
    file.seek(0)
    head = file.read(12)
    if head[4:8] in _MP4_BOXES:
        return max((end for kind, _, end in _boxes(file, size) if kind in (b"mdat", b"moov", b"moof")), default=None)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _riff_end(file, size)
    if head[:4] == MATROSKA:
        return matroska_structure(path).end
    return None


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, first byte of the content and end of each outermost box (ISO/IEC 14496-12); the last may pass the file's end."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length, kind, content = int.from_bytes(header[:4], "big"), header[4:8], position + 8
        if length == 1:
            length, content = int.from_bytes(header[8:16], "big"), position + 16
        if length == 0:
            length = size - position  # to the end of the file
        if length < content - position or not kind.isascii():
            return
        yield kind, content, position + length
        position += length


def _riff_end(file: BinaryIO, size: int) -> int | None:
    """The end of the last RIFF chunk. Recorders that were stopped leave 0 or no sensible size, which tells nothing."""
    position, end = 0, None
    while position + 8 <= size:
        file.seek(position)
        header = file.read(8)
        length = int.from_bytes(header[4:8], "little")
        if header[:4] != b"RIFF" or length in (0, 0xFFFFFFFF):
            break
        end = position + 8 + length
        position = end + length % 2
    return end


def _is_encrypted(file: BinaryIO, head: bytes) -> bool:
    if head.startswith(MATROSKA):
        return bool(_CONTENT_ENCRYPTION.search(head))
    if head.startswith(bytes.fromhex("3026b2758e66cf11")):
        return _ENCRYPTED_ASF in head
    if head[4:8] not in _MP4_BOXES:
        return False
    size = file.seek(0, 2)
    for kind, content, end in _boxes(file, size):
        if kind == b"moov":
            file.seek(content)
            return _ENCRYPTED_SAMPLES in file.read(min(end - content, _LARGEST_INDEX))
    return False


def _tiff_pages(file: BinaryIO) -> int:
    """1, or 2 if a second page follows (TIFF 6.0: each directory ends in the place of the next)."""
    file.seek(0)
    header = file.read(8)
    order = "little" if header[:2] == b"II" else "big"
    file.seek(int.from_bytes(header[4:8], order))  # type: ignore[arg-type]
    entries = int.from_bytes(file.read(2), order)  # type: ignore[arg-type]
    file.seek(12 * entries, 1)
    return 2 if any(file.read(4)) else 1
