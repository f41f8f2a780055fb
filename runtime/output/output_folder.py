"""The folder a run writes to: what may be taken, and what of an earlier run is removed."""

import fcntl
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

from glus_edge.runtime.errors import OutputError
from glus_edge.runtime.output.formats.registry import FORMATS
from glus_edge.runtime.utils.atomic_file import PART_SUFFIX

RESULT_FILE, OVERLAY_FILE, MASK_FOLDER = "result.json", "overlay.mp4", "masks"
FORMAT_FOLDER = "formats"  # a folder for each of --format
RESULT_FORMAT = "glus-edge result"  # how a result.json of ours is known


def check_output_folder(directory: Path, overwrite: bool) -> None:
    """Errors: OutputError for a folder that exists, or whose contents are not all of an earlier run's making."""
    try:
        if not directory.exists() and not directory.is_symlink():
            return
        is_folder = directory.is_dir()
    except OSError as error:
        raise OutputError(f"{directory}: cannot be used ({error.strerror}), expected a folder to create") from error
    if not is_folder:
        raise OutputError(f"{directory}: exists and is no folder, expected a folder to create; choose another one")
    if not overwrite:
        raise OutputError(f"{directory}: exists already; choose another folder or pass --overwrite")
    if _entries(directory) and not _is_ours(directory / RESULT_FILE):
        raise OutputError(
            f"{directory}: holds files and no {RESULT_FILE} of an earlier run, expected results that may be "
            "overwritten; choose another folder"
        )


def lock_folder(directory: Path) -> int:
    """A file descriptor; until it is closed, or its process ends, no other run may write to the folder.

    Errors: OutputError: another run does; OSError.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise OutputError(
            f"{directory}: another run is writing to it; choose another folder, or wait for it"
        ) from error
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def remove_masks_and_overlay(directory: Path) -> None:
    """Removes what an earlier run wrote beside result.json, and nothing else. Errors: OutputError."""
    try:
        for name in (OVERLAY_FILE, OVERLAY_FILE + PART_SUFFIX, RESULT_FILE + PART_SUFFIX):
            (directory / name).unlink(missing_ok=True)
        masks = directory / MASK_FOLDER
        for sentence in masks.iterdir() if masks.is_dir() else ():
            if not (sentence.name.isdigit() and sentence.is_dir()):
                continue
            for pattern in ("*.png", "*.png" + PART_SUFFIX):
                for file in sentence.glob(pattern):
                    file.unlink()
            _remove_if_empty(sentence)
        _remove_if_empty(masks)
        formats = directory / FORMAT_FOLDER
        for own in formats.iterdir() if formats.is_dir() and not formats.is_symlink() else ():
            if own.name in FORMATS and own.is_dir() and not own.is_symlink():
                shutil.rmtree(own)
        _remove_if_empty(formats)
    except OSError as error:
        raise OutputError(
            f"{error.filename}: cannot be removed ({error.strerror}), expected a folder that can be overwritten"
        ) from error


def remove_outputs(directory: Path, *, with_folder: bool) -> None:
    """Removes a run that came to nothing; `with_folder`: the folder, too, if it is empty then."""
    remove_masks_and_overlay(directory)
    (directory / RESULT_FILE).unlink(missing_ok=True)
    if with_folder:
        _remove_if_empty(directory)


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError as error:
        raise OutputError(f"{directory}: cannot be listed ({error.strerror}), expected a folder of ours") from error


def _is_ours(path: Path) -> bool:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("format") == RESULT_FORMAT


def _remove_if_empty(directory: Path) -> None:
    with suppress(OSError):  # not there, or something of another's is in it
        directory.rmdir()
