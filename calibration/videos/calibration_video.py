"""What a bundle is calibrated on: videos with sentences, with the true masks where they are known."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.datasets.dataset import Dataset, ReferringVideo
from glus_edge.benchmarks.datasets.generated_dataset import GENERATED, GeneratedReferringVideo
from glus_edge.benchmarks.datasets.mevis_dataset import EXPRESSIONS, MevisDataset
from glus_edge.runtime.errors import InputError, VideoError
from glus_edge.runtime.video.video import Video, open_video
from glus_edge.training.data.video import VALIDATION, generate_set

SENTENCES_SUFFIX = ".txt"
_LAYOUT = (
    f"expected videos or folders of frames, each with its sentences in NAME{SENTENCES_SUFFIX} (one a line), a folder in "
    f"MeViS's format, or {GENERATED!r}"
)


class CalibrationVideo(NamedTuple):
    """One video and what is asked of it."""

    name: str
    sentences: tuple[str, ...]
    open: Callable[[], Video]
    truth: Callable[[int], NDArray[np.bool_]] | None  # of a frame, [sentences, H, W]; after `open`. None: not known


def open_calibration_videos(name_or_folder: str, count: int) -> list[CalibrationVideo]:
    """The first `count` videos. 'generated' is the validation set of `training`, never the held-out one.

    InputError: no such folder, or no video in it that can be read; it names the first reason.
    """
    if name_or_folder == GENERATED:
        videos = range(min(count, VALIDATION.videos))
        return [_of_dataset(GeneratedReferringVideo(f"{n:03d}", generate_set(VALIDATION, n))) for n in videos]
    folder = Path(name_or_folder)
    if not folder.is_dir():
        raise InputError(f"--videos {folder}: no such folder; {_LAYOUT}")
    if (folder / EXPRESSIONS).is_file():
        dataset: Dataset = MevisDataset(folder)
        return [_of_dataset(dataset[number]) for number in range(min(count, len(dataset)))]
    return _of_folder(folder, count)


def _of_dataset(video: ReferringVideo) -> CalibrationVideo:
    return CalibrationVideo(video.name, tuple(each.text for each in video.sentences), video.open, video.truth)


def _of_folder(folder: Path, count: int) -> list[CalibrationVideo]:
    videos: list[CalibrationVideo] = []
    reasons: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.suffix == SENTENCES_SUFFIX or path.name.startswith(".") or len(videos) == count:
            continue
        try:
            sentences = _sentences(path)
            with closing(open_video(path)) as video:
                video.read(0)
        except (VideoError, InputError) as error:
            reasons.append(str(error))
            continue
        videos.append(CalibrationVideo(path.name, sentences, _opener(path), None))
    if not videos:
        why = f"{len(reasons)} entries, the first: {reasons[0]}" if reasons else "it is empty"
        raise InputError(f"--videos {folder}: has no video that can be read ({why}); {_LAYOUT}")
    return videos


def _opener(path: Path) -> Callable[[], Video]:
    return lambda: open_video(path)


def _sentences(video: Path) -> tuple[str, ...]:
    path = video.with_name((video.name if video.is_dir() else video.stem) + SENTENCES_SUFFIX)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}), expected the sentences of {video.name}, one a line"
        ) from error
    sentences = tuple(line.strip() for line in lines if line.strip())
    if not sentences:
        raise InputError(f"{path}: got no sentence, expected at least one line of text")
    return sentences


def video_names(videos: Sequence[CalibrationVideo]) -> str:
    """For a record."""
    return ", ".join(video.name for video in videos)
