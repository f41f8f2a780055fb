"""Which frame a run starts from; masks are propagated both ways from it."""

import math
import re
from pathlib import Path

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.utils.regular_file import read_regular
from glus_edge.runtime.utils.schema import SchemaError, json_document

KeyFrame = int | str | Path  # a frame's index, 'first', 'auto' (the model chooses), or a score file


MOST_CANDIDATES = 32  # frames a model with [SCORE] rates: each costs a question of the language model


def candidate_frames(frame_count: int, context: tuple[int, ...]) -> tuple[int, ...]:
    """The frames of which [SCORE] chooses: all of a short video, as in the paper; of a long one some, evenly spread.

    The context frames, whose image tokens are computed anyway, are always among them.
    """
    if frame_count <= MOST_CANDIDATES:
        return tuple(range(frame_count))
    spread = (round(i * (frame_count - 1) / (MOST_CANDIDATES - 1)) for i in range(MOST_CANDIDATES))
    return tuple(sorted({*spread, *context}))


def key_frame_index(choice: KeyFrame, frame_count: int) -> int:
    """The index a choice other than 'auto' names. InputError: a frame the video lacks, or a score file that does not fit."""
    if choice == "first":
        return 0
    if isinstance(choice, str) and re.fullmatch(r"-?[0-9]{1,18}", choice):
        choice = int(choice)
    if isinstance(choice, int):
        if not 0 <= choice < frame_count:
            raise InputError(f"key frame: got {choice}, expected 0 to {frame_count - 1}, the frames of this video")
        return choice
    scores = _scores(Path(choice), frame_count)
    return max(range(frame_count), key=lambda index: scores[index])


def _scores(path: Path, frame_count: int) -> list[float]:
    """A score file: a JSON list with one number per frame; the highest (the first of equals) is the key frame."""
    try:
        document = json_document(read_regular(path))
    except OSError as error:
        raise InputError(
            f"key frame: got {str(path)!r} ({error.strerror}), expected 'first', 'auto', a frame number or a score file"
        ) from error
    except SchemaError as error:
        raise InputError(f"{path}: {error}, expected a JSON list with one number per frame") from error
    numbers = [
        float(score)
        for score in (document if isinstance(document, list) else [])
        if isinstance(score, (int, float)) and not isinstance(score, bool) and _is_finite(score)
    ]
    if not isinstance(document, list) or len(numbers) != len(document) or len(numbers) != frame_count:
        got = f"{len(numbers)} numbers" if isinstance(document, list) else type(document).__name__
        raise InputError(f"{path}: got {got}, expected a JSON list of {frame_count} finite numbers, one per frame")
    return numbers


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number beyond every float
        return False
