"""What mutated inputs are given to: each reader answers with a result or with one line, whatever comes."""

import json
from collections.abc import Callable
from pathlib import Path

from glus_edge.benchmarks.datasets.mevis_dataset import MevisDataset
from glus_edge.runtime.bundle.bundle import read_manifest
from glus_edge.runtime.bundle.shipped import shipped_bundle
from glus_edge.runtime.errors import GlusEdgeError
from glus_edge.runtime.serving.messages import command_from_text
from glus_edge.runtime.serving.pushed_frames import picture_from_bytes
from glus_edge.runtime.video.frame_folder import FrameFolder
from glus_edge.runtime.video.video import damage, open_video
from tests.benchmarks.mevis_folder import write_mevis
from tests.fuzz import samples
from tests.fuzz.mutation import mutated

_MESSAGES = (
    b'{"add": ["the red ball", "der gr\xc3\xbcne Ball"]}',
    b'{"remove": 3}',
    b'{"add": ["\\u00e9\\ud83d\\ude00"]}',
)


def fuzz_video(seed: int, folder: Path) -> None:
    """A film: every frame forwards, the last one again, and what is missing."""
    suffix, content = samples.video(seed % len(samples.VIDEOS))
    path = folder / f"clip.{suffix}"
    path.write_bytes(mutated(content, seed))
    video = open_video(path)
    try:
        frames = list(video.frames())
        assert [frame.index for frame in frames] == list(range(video.frame_count))
        assert all(frame.rgb.shape == (*frame.size, 3) for frame in frames)
        assert video.read(video.frame_count - 1).size == frames[-1].size
        assert "\n" not in (damage(video) or "")
    finally:
        video.close()


def fuzz_image(seed: int, folder: Path) -> None:
    """A folder of one frame."""
    kind = samples.IMAGES[seed % len(samples.IMAGES)]
    path = folder / f"0.{kind.lower()}"
    path.write_bytes(mutated(samples.image(kind), seed))
    try:
        assert FrameFolder(folder).read(0).rgb.size
    finally:
        path.unlink()


def fuzz_manifest(seed: int, folder: Path) -> None:
    """A bundle's manifest."""
    (folder / "manifest.json").write_bytes(mutated((shipped_bundle() / "manifest.json").read_bytes(), seed))
    read_manifest(folder)


def fuzz_annotations(seed: int, folder: Path) -> None:
    """A data set's sentences and masks."""
    if not (folder / "data").exists():
        write_mevis(folder / "data")
    changed = sorted((folder / "data").rglob("*.json"))[seed % 2]
    content = changed.read_bytes()
    try:
        changed.write_bytes(mutated(content, seed))
        dataset = MevisDataset(folder / "data")
        for number in range(min(len(dataset), 4)):
            film = dataset[number]
            film.open().close()
            for frame in range(2):
                film.truth(frame)
    finally:
        changed.write_bytes(content)


def fuzz_requests(seed: int, folder: Path) -> None:
    """What a client of the server sends: messages and pictures."""
    if seed % 2:
        text = mutated(_MESSAGES[seed % len(_MESSAGES)], seed).decode(errors="surrogateescape")
        command = command_from_text(text)
        assert json.dumps(command.__dict__)
    else:
        picture_from_bytes(mutated(samples.image(samples.IMAGES[seed % len(samples.IMAGES)]), seed))


def _of_export(name: str) -> Callable[[int, Path], None]:
    """A target that needs the export extra, imported when it runs."""

    def run(seed: int, folder: Path) -> None:
        from tests.fuzz import export_targets

        getattr(export_targets, f"fuzz_{name}")(seed, folder)

    return run


EXPORT_TARGETS = ("weights", "config", "tokenizer", "sam2")
TARGETS: dict[str, Callable[[int, Path], None]] = {
    "video": fuzz_video,
    "image": fuzz_image,
    "manifest": fuzz_manifest,
    "annotations": fuzz_annotations,
    "requests": fuzz_requests,
    **{name: _of_export(name) for name in EXPORT_TARGETS},
}


def run_one(target: str, seed: int, folder: Path) -> bool:
    """Whether the input was taken; False: refused in one line. Anything else is a fault, and raised."""
    try:
        TARGETS[target](seed, folder)
    except GlusEdgeError as error:
        if "\n" in str(error):
            raise AssertionError(f"more than one line: {error}") from error
        return False
    return True
