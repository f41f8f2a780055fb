"""JSON files of a checkpoint, read as hostile input: an object with values of the expected kinds, or one clear line."""

import json
from pathlib import Path
from typing import Any

from glus_edge.export.checkpoint.file_kind import check_file_kind
from glus_edge.runtime.errors import CheckpointError

MAXIMUM_BYTES = 64 * 1024 * 1024  # an index of a 70B model is under 100 KB; anything larger is not one of these files


class JsonObject:
    """The object of a JSON file, with getters that check kind and range."""

    def __init__(self, path: Path, values: dict[str, Any]) -> None:
        self.path = path
        self.values = values

    @classmethod
    def read(cls, path: Path) -> "JsonObject":
        """Raises CheckpointError where the file is missing, too large, no JSON or no object."""
        check_file_kind(path)
        try:
            size = path.stat().st_size
            if size > MAXIMUM_BYTES:
                raise CheckpointError(f"{path}: got {size} bytes, expected a JSON file under {MAXIMUM_BYTES} bytes")
            values = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise CheckpointError(
                f"{path}: cannot be read ({error.strerror}), expected a JSON file; give the complete folder"
            ) from error
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: is not JSON ({error}); copy the file again") from error
        if not isinstance(values, dict):
            raise CheckpointError(f"{path}: got a JSON {type(values).__name__}, expected an object")
        return cls(path, values)

    def integer(self, key: str, default: int | None = None, maximum: int = 1 << 24) -> int:
        """An integer from 1 to `maximum`."""
        value = self.values.get(key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= maximum:
            raise self.error(key, f"a whole number from 1 to {maximum}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number above zero."""
        value = self.values.get(key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e12:
            raise self.error(key, "a number above 0")
        return float(value)

    def text(self, key: str, default: str | None = None) -> str:
        """A string without control characters."""
        value = self.values.get(key)
        value = default if value is None else value
        if not isinstance(value, str) or not value.isprintable():
            raise self.error(key, "a text")
        return value

    def require(self, key: str, accepted: tuple[object, ...], why: str) -> None:
        """Absent, null, or one of `accepted`; 1 and 1.0 are one value, 1 and true are not."""
        value = self.values.get(key)
        if value is None or any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in accepted):
            return
        raise self.error(key, f"{' or '.join(map(json.dumps, accepted)) or 'null'}: {why}")

    def child(self, key: str) -> "JsonObject | None":
        """The object under `key`; None where there is none."""
        value = self.values.get(key)
        return JsonObject(self.path, value) if isinstance(value, dict) else None

    def error(self, key: str, expected: str) -> CheckpointError:
        """The error for a value that is not what was expected."""
        got = json.dumps(self.values[key])[:60] if key in self.values else "nothing"
        return CheckpointError(f"{self.path}: {key}: got {got}, expected {expected}")
