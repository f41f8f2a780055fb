"""Playlists (RFC 8216, M3U8) in files: what FFmpeg would follow or wait for without an end is known before it is opened."""

import re
from contextlib import suppress
from pathlib import Path

BEGIN = b"#EXTM3U"  # how playlists begin
_MASTER = b"#EXT-X-STREAM-INF"  # only in playlists of playlists
_LARGEST = 16 << 20  # bytes that are read of a playlist
_URI = re.compile(r'URI="([^"]*)"')


def is_nested(path: Path) -> bool:
    """Whether a playlist names playlists that name playlists: forbidden, and followed for ever if one names itself."""
    return _is_master(_content(path)) and any(_is_master(_content(other)) for other in _named(path))


def special_entry(path: Path) -> Path | None:
    """What a playlist names that is a pipe or device, which may be waited for; None: nothing."""
    for other in _named(path):
        with suppress(OSError, ValueError):
            if other.exists() and not other.is_file():
                return other
    return None


def is_endless(path: Path) -> bool:
    """Whether a playlist, or one that it names, may grow: FFmpeg waits for its next segment."""
    content = _content(path)
    if _is_master(content):
        return any(is_endless(other) for other in _named(path) if not _is_master(_content(other)))
    return content.startswith(BEGIN) and b"#EXT-X-ENDLIST" not in content


def _named(path: Path) -> list[Path]:
    """The files that a playlist names, if they lie on this machine."""
    text = _content(path).decode(errors="surrogateescape")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [path.parent / name for name in dict.fromkeys([*lines, *_URI.findall(text)])]


def _content(path: Path) -> bytes:
    with suppress(OSError, ValueError):  # not there, or no name of a file: FFmpeg says so
        if path.is_file():
            with path.open("rb") as file:
                return file.read(_LARGEST).lstrip(b"\xef\xbb\xbf \r\n\t")
    return b""


def _is_master(content: bytes) -> bool:
    return content.startswith(BEGIN) and _MASTER in content
