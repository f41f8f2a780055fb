"""Reads records and checks them; writes them whole or not at all."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

from glus_edge.benchmarks.records.profile_record import FORMAT, SCENARIOS, VERSION, ProfileRecord, ProfileRun
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.utils.atomic_file import write_file
from glus_edge.runtime.utils.schema import SchemaError, from_json, json_document, to_json

_MAXIMUM_BYTES = 2 << 30  # an hour of 100 frames a second is 1 GB


def write_profile(path: Path, record: ProfileRecord) -> None:
    """Errors: OutputError: the disk is full or the file cannot be written. ValueError: a sample is no finite number."""
    write_file(path, json.dumps(to_json(record), allow_nan=False, separators=(",", ":")).encode() + b"\n")


def read_profile(path: Path) -> ProfileRecord:
    """Errors: InputError: there is no such file, it is no record, a damaged one, or of a newer version."""
    try:
        size = path.stat().st_size
        if size > _MAXIMUM_BYTES:
            raise InputError(f"{path}: got {size} bytes, expected a record of at most {_MAXIMUM_BYTES}")
        document = json_document(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected a record of bench profile") from error
    except SchemaError as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        got = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise InputError(
            f"{path}: got {str(got)[:60]!r}, expected {FORMAT!r}: a record that `glus-edge bench profile --output` wrote"
        )
    version = document.get("format_version")
    if type(version) is not int or not 0 < version <= VERSION:
        raise InputError(
            f"{path}: got format version {version!r}, expected at most {VERSION}; update glus-edge to read it"
        )
    try:
        record = from_json(ProfileRecord, document)
    except SchemaError as error:
        raise _damaged(path, str(error)) from error
    for fault in _faults(record):
        raise _damaged(path, fault)
    return record


def _damaged(path: Path, fault: str) -> InputError:
    return InputError(f"{path}: {fault}; the record is damaged or was edited: measure again")


def _faults(record: ProfileRecord) -> Iterator[str]:
    """What types cannot say."""
    names = [(run.scenario, run.name) for run in record.runs]
    if len(set(names)) < len(names):
        yield f"runs: got {len(names)} with {len(set(names))} names, expected each name once"
    for number, run in enumerate(record.runs):
        if run.scenario not in SCENARIOS:
            yield f"runs[{number}].scenario: got {run.scenario[:60]!r}, expected one of {', '.join(SCENARIOS)}"
        yield from (f"runs[{number}].{fault}" for fault in _run_faults(run))


def _run_faults(run: ProfileRun) -> Iterator[str]:
    if not math.isfinite(run.seconds) or run.seconds < 0:
        yield f"seconds: got {run.seconds}, expected 0 or more"
    for number, frame in enumerate(run.frames):
        times = (frame.arrived_s, frame.started_s, frame.finished_s)
        if not all(map(math.isfinite, times)) or not frame.started_s <= frame.finished_s:
            yield f"frames[{number}]: got times {times}, expected it to finish after it started"
        lengths = [span.ms for span in frame.stages] + [call.ms for call in frame.calls]
        if not all(math.isfinite(ms) and ms >= 0 for ms in lengths):
            yield f"frames[{number}]: got a stage or call of no length, expected 0 ms or more"
