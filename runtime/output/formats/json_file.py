"""A JSON document as a file."""

import json
from pathlib import Path
from typing import Any

from glus_edge.runtime.utils.atomic_file import write_file


def write_json(path: Path, document: Any) -> None:
    """Writes the file whole or not at all. OutputError."""
    write_file(path, json.dumps(document, allow_nan=False).encode() + b"\n")
