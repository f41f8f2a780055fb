"""Training batches: videos drawn from seeds, as arrays; made in a worker process beside the training."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset

from glus_edge.training.data.scene import COLOURS, MOTIONS, SHAPES, SIZES, TEXTURES, Difficulty
from glus_edge.training.data.scene_sampling import draw_scene
from glus_edge.training.data.video import GeneratedVideo, generate_video

CONTEXT_FRAMES = 4
QUERY_FRAMES = 4
MOST_OBJECTS = 5
HEADINGS = ("", "left", "right", "up", "down")


@dataclass(frozen=True)
class Mix:
    """What a batch holds."""

    videos: int
    sentences: int  # per video
    shares: tuple[tuple[str, float], ...]  # kind of sentence -> share
    size: int = 160
    grid: int = 12  # patches per side of the CLIP tower
    single_frames: bool = False  # one frame of each video instead of a window, for the tower's school


Schedule = Callable[[int], Mix]  # the make-up of the batch of a step


@dataclass(frozen=True)
class Batch:
    """Arrays of `videos` V with `sentences` S each; F = 8 frames, 4 context frames before 4 query frames."""

    frames: torch.Tensor  # [V, F, 3, H, H] uint8
    owners: torch.Tensor  # [V, 4, H, H] uint8 of the query frames, 0 background, i + 1 object i
    cover: torch.Tensor  # [V, F, grid*grid, 1 + MOST_OBJECTS] share of each patch
    looks: torch.Tensor  # [V, MOST_OBJECTS, 4] classes: shape, colour, texture, size (-1 where size is not fixed)
    places: torch.Tensor  # [V, F, MOST_OBJECTS, 3] x, y, radius in frame sides
    speeds: torch.Tensor  # [V, F, MOST_OBJECTS, 2] frame sides per frame, without the camera's
    motions: torch.Tensor  # [V, MOST_OBJECTS, 3] classes: motion, heading, second heading
    targets: torch.Tensor  # [V, S, 1 + MOST_OBJECTS] 1 where the sentence means the object
    texts: tuple[tuple[str, ...], ...]  # [V][S]
    kinds: tuple[tuple[str, ...], ...]  # [V][S]


def context_indices(count: int) -> NDArray[np.int64]:
    """The reference's context frames of a video of `count` frames, [4]."""
    edges = np.linspace(0, count, CONTEXT_FRAMES + 1).astype(np.int64)
    return np.minimum(edges[:-1] + -(-count // CONTEXT_FRAMES) // 2, edges[1:] - 1)


def patch_cover(owners: NDArray[np.uint8], grid: int) -> NDArray[np.float32]:
    """Share of every patch that each owner covers: [F, H, H] -> [F, grid*grid, 1 + MOST_OBJECTS]."""
    side = owners.shape[-1]
    edges = np.linspace(0.0, side, grid + 1)
    pixels = np.arange(side)
    share = np.minimum(edges[1:, None], pixels + 1.0) - np.maximum(edges[:-1, None], pixels)
    share = (share.clip(0.0) * grid / side).astype(np.float32)  # [grid, H]: area weights, rows sum to 1
    labels = np.arange(1 + MOST_OBJECTS, dtype=np.uint8)
    whole = (owners[:, None] == labels[:, None, None]).astype(np.float32)
    out = share @ whole @ share.T  # [F, labels, grid, grid]
    return np.ascontiguousarray(out.reshape(*out.shape[:2], -1).transpose(0, 2, 1), np.float32)


def _object_arrays(video: GeneratedVideo) -> dict[str, NDArray[np.generic]]:
    scene, numbers = video.scene, video.frame_numbers
    times = scene.times()
    looks = np.full((MOST_OBJECTS, 4), -1, np.int64)
    motions = np.full((MOST_OBJECTS, 3), -1, np.int64)
    places = np.zeros((len(numbers), MOST_OBJECTS, 3), np.float32)
    speeds = np.zeros((len(numbers), MOST_OBJECTS, 2), np.float32)
    for i, thing in enumerate(scene.things):
        size = -1 if thing.motion in ("grow", "shrink") else SIZES.index(thing.size)
        looks[i] = SHAPES.index(thing.shape), COLOURS.index(thing.colour), TEXTURES.index(thing.texture), size
        headings = HEADINGS.index(thing.heading), HEADINGS.index(thing.second_heading)
        motions[i] = MOTIONS.index(thing.motion), *headings
        path = thing.positions(times)
        places[:, i, :2] = path[numbers] + scene.camera(times)[numbers]
        places[:, i, 2] = thing.radius * thing.scales(times)[numbers]
        speeds[:, i] = np.gradient(path, axis=0)[numbers]
    return {"looks": looks, "motions": motions, "places": places, "speeds": speeds}


def window_numbers(frames: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Context frames, then four consecutive query frames from a random place, [8]."""
    first = int(rng.integers(0, frames - QUERY_FRAMES + 1))
    return np.concatenate([context_indices(frames), first + np.arange(QUERY_FRAMES)])


def batch_from_videos(videos: list[GeneratedVideo], grid: int) -> Batch:
    """Arrays of videos whose frames are context frames, then query frames; all with equally many sentences."""
    arrays = [_object_arrays(v) for v in videos]
    stacked = {k: torch.from_numpy(np.stack([a[k] for a in arrays])) for k in arrays[0]}
    targets = torch.zeros(len(videos), len(videos[0].sentences), 1 + MOST_OBJECTS)
    for v, video in enumerate(videos):
        for s, sentence in enumerate(video.sentences):
            targets[v, s, [t + 1 for t in sentence.targets]] = 1.0
    return Batch(
        frames=torch.from_numpy(np.stack([v.frames for v in videos])).permute(0, 1, 4, 2, 3).contiguous(),
        owners=torch.from_numpy(np.stack([v.owners[CONTEXT_FRAMES:] for v in videos])),
        cover=torch.from_numpy(np.stack([patch_cover(v.owners, grid) for v in videos])),
        targets=targets,
        texts=tuple(tuple(s.text for s in v.sentences) for v in videos),
        kinds=tuple(v.kinds() for v in videos),
        **stacked,
    )


def make_batch(seed: int, mix: Mix) -> Batch:
    """The batch of one seed: the same every time."""
    rng = np.random.default_rng(seed)
    difficulty = Difficulty()
    videos = []
    for _ in range(mix.videos):
        video_seed = int(rng.integers(2**40))
        frames = _frame_count(video_seed, difficulty)
        numbers = rng.integers(0, frames, 1) if mix.single_frames else window_numbers(frames, rng)
        videos.append(
            generate_video(
                video_seed,
                size=mix.size,
                sentences=mix.sentences,
                shares=dict(mix.shares),
                difficulty=difficulty,
                frames=numbers,
            )
        )
    return batch_from_videos(videos, mix.grid)


def _frame_count(seed: int, difficulty: Difficulty) -> int:
    return draw_scene(seed, difficulty).frames


class _Stream(IterableDataset[Batch]):
    def __init__(self, schedule: Schedule, first_step: int, seed: int, stride: int) -> None:
        self.schedule, self.first_step, self.seed, self.stride = schedule, first_step, seed, stride

    def __iter__(self) -> Iterator[Batch]:
        cv2.setNumThreads(0)
        torch.set_num_threads(1)
        for step in count(self.first_step):
            yield make_batch(self.seed + step * self.stride, self.schedule(step))


def stream_batches(schedule: Schedule, first_step: int, seed: int, stride: int, *, worker: bool) -> Iterator[Batch]:
    """Batches from `first_step` on, each of the seed `seed + step * stride`; made ahead in a worker process if asked."""
    loader = DataLoader(
        _Stream(schedule, first_step, seed, stride),
        batch_size=None,
        num_workers=int(worker),
        prefetch_factor=3 if worker else None,
    )
    return iter(loader)
