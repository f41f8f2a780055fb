"""How fast two libraries run one graph on this processor: measured once, kept in the user's cache folder."""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from glus_edge.runtime.backends.engine import Backend
from glus_edge.runtime.errors import OutputError
from glus_edge.runtime.utils.atomic_file import written_aside
from glus_edge.runtime.utils.schema import SchemaError, from_json, json_document, to_json

GRAPH = "image_encoder"  # the largest whose shapes are fixed: nothing but the bundle need be known to run it
_RUNS = 3  # of which the fastest counts, behind one that is not counted
_MOST_KEPT = 64  # measurements in the file; the oldest go


@dataclass(frozen=True)
class Speeds:
    """Milliseconds of one run of GRAPH, by the library's name."""

    milliseconds: dict[str, float]

    @property
    def fastest(self) -> str:
        """The library that took least."""
        return min(self.milliseconds, key=self.milliseconds.__getitem__)


def run_ms(backend: Backend) -> float:
    """Milliseconds of the fastest of a few runs of GRAPH on zeros."""
    engine = backend.open(GRAPH)
    try:
        device, signature = engine.device, engine.signature
        inputs, outputs = (
            {each.name: device.zeros(tuple(int(size) for size in each.shape), each.dtype) for each in tensors}
            for tensors in (signature.inputs, signature.outputs)
        )
        times = []
        for _ in range(1 + _RUNS):
            start = time.perf_counter()
            engine.run(inputs, outputs)
            times.append((time.perf_counter() - start) * 1e3)
        return min(times[1:])
    finally:
        engine.close()


def cached_speeds(key: str, contenders: Mapping[str, Callable[[], Backend]], folder: Path | None = None) -> Speeds:
    """The speeds under `key`, measured where they are not known yet. Errors: those of the backends.

    A file that cannot be read or written is no error: the measurement takes a moment and is made again.
    """
    path = (cache_folder() if folder is None else folder) / "backend_speeds.json"
    known = _read(path)
    if key in known and set(known[key].milliseconds) == set(contenders):
        return known[key]
    measured = Speeds({name: run_ms(make()) for name, make in contenders.items()})
    known.pop(key, None)
    kept = dict([*known.items(), (key, measured)][-_MOST_KEPT:])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as part:
            part.write_text(json.dumps(to_json(kept), indent=2), encoding="utf-8")
    except (OSError, OutputError):
        return measured
    return measured


def cache_folder() -> Path:
    """Where this user's programs keep what they can make again (XDG Base Directory Specification)."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(named) if Path(named).is_absolute() else Path.home() / ".cache") / "glus-edge"


def _read(path: Path) -> dict[str, Speeds]:
    try:
        return from_json(dict[str, Speeds], json_document(path.read_bytes()))
    except (OSError, SchemaError, ValueError):
        return {}
