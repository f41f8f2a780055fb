"""A JSON file of annotations, read as hostile input: what does not fit is named with its place."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glus_edge.runtime.errors import InputError

_SHOWN = 60  # characters of a value that does not fit


class AnnotationFile:
    """The object in a JSON file. `layout` ends every message: what the folder is expected to hold."""

    def __init__(self, path: Path, layout: str) -> None:
        """InputError: the file cannot be read, or holds no JSON object."""
        self.path = path
        self._layout = layout
        try:
            document = json.loads(path.read_bytes())
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); {layout}") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: got {error}, expected JSON; {layout}") from error
        self.document = self.object(document, "")

    def videos(self, images: str) -> list[tuple[str, dict[str, Any]]]:
        """Names and entries of `videos`, sorted by name. `images`: the folder that holds a folder for each."""
        videos = self.object(self.document.get("videos"), "videos")
        if not videos:
            raise InputError(f"{self.path}: got no videos, expected at least one")
        for name in videos:
            if not is_plain(name):
                raise InputError(
                    f"{self.path}: videos.{name}: got a path, expected the plain name of a folder in {images}"
                )
        return sorted(videos.items())

    def object(self, value: Any, where: str) -> dict[str, Any]:
        """The value at `where`, which is an object. InputError: it is none."""
        if not isinstance(value, dict):
            raise InputError(f"{self.place(where)}: got {shown(value)}, expected a JSON object; {self._layout}")
        return value

    def frames(self, entry: dict[str, Any], where: str) -> tuple[str, ...]:
        """The names of a video's frames, without suffix."""
        frames = entry.get("frames")
        if (
            not isinstance(frames, list)
            or not frames
            or not all(isinstance(frame, str) and is_plain(frame) for frame in frames)
        ):
            raise InputError(f"{self.place(where)}.frames: got {shown(frames)}, expected the names of its frames")
        if len(set(frames)) < len(frames):
            raise InputError(f"{self.place(where)}.frames: got a frame twice, expected each frame once")
        return tuple(frames)

    def expressions(self, entry: dict[str, Any], where: str) -> Iterator[tuple[str, dict[str, Any], str]]:
        """Key, entry and place of every sentence of a video; at least one."""
        expressions = self.object(entry.get("expressions"), f"{where}.expressions")
        if not expressions:
            raise InputError(f"{self.place(where)}.expressions: got none, expected at least one")
        for key, value in expressions.items():
            place = f"{where}.expressions.{key}"
            if not is_plain(key):
                raise InputError(f"{self.place(place)}: got a path, expected a number or a plain name")
            yield key, self.object(value, place), place

    def text(self, entry: dict[str, Any], key: str, where: str, expected: str = "a sentence") -> str:
        """A text of an entry."""
        value = entry.get(key)
        if not isinstance(value, str):
            raise InputError(f"{self.place(where)}.{key}: got {shown(value)}, expected {expected}")
        return value

    def identifier(self, entry: dict[str, Any], key: str, where: str) -> str:
        """A number, or a text that can be the name of a folder."""
        value = entry.get(key)
        if type(value) not in (int, str) or not is_plain(str(value)):
            raise InputError(f"{self.place(where)}.{key}: got {shown(value)}, expected a number or a plain name")
        return str(value)

    def place(self, where: str) -> str:
        """How a message names a value of the file."""
        return f"{self.path}: {where}" if where else str(self.path)


def shown(value: Any) -> str:
    """A value in a message."""
    return repr(str(value)[:_SHOWN])


def is_plain(name: str) -> bool:
    """Whether a name from a file can be that of a folder: no path, and nothing that is no text."""
    return name not in ("", ".", "..") and not re.search(r"[/\\\0\ud800-\udfff]", name)
