"""The demo video that ships: generated from a seed that no set draws, with three sentences and their true masks."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from glus_edge.training.data.mevis import rle_from_mask
from glus_edge.training.data.scene import Difficulty
from glus_edge.training.data.sentences import all_sentences
from glus_edge.training.data.video import generate_video

# Training draws seeds below 2**40, its validation and the held-out set lie below 2**44.
DEMO_SEED = 2**44
DEMO_SIDE = 320  # pixels: twice what the model's SAM 2 sees, for people who look at the overlay
DEMO_FRAMES = 24
DEMO_RATE = 8  # frames per second
DEMO_DIFFICULTY = Difficulty(
    fewest_frames=DEMO_FRAMES,
    most_frames=DEMO_FRAMES,
    fewest_objects=4,
    most_objects=4,
    look_alike_share=1.0,
    calm_share=0.0,
)
# One of each kind; only motion tells the two green squares of the last apart.
DEMO_SENTENCES = (
    "the cyan square",
    "the green square to the left of the cyan square",
    "the green square that moves up",
)


def write_demo_video(folder: Path) -> None:
    """Writes folder/clip.mp4 and folder/truth.json: per sentence its text, its kind and a run-length code a frame."""
    video = generate_video(DEMO_SEED, size=DEMO_SIDE, sentences=0, difficulty=DEMO_DIFFICULTY)
    known = {sentence.text: sentence for kind in all_sentences(video.scene).values() for sentence in kind}
    _encode(folder / "clip.mp4", video.frames)
    entries: list[dict[str, Any]] = []
    for text in DEMO_SENTENCES:
        sentence = known[text]
        masks = np.isin(video.owners, [target + 1 for target in sentence.targets])
        entries.append({"text": text, "kind": sentence.kind, "masks": [rle_from_mask(mask) for mask in masks]})
    (folder / "truth.json").write_text(json.dumps({"sentences": entries}) + "\n")


def _encode(path: Path, frames: NDArray[np.uint8]) -> None:
    """H.264 of good quality. NOTE: the encoder's bytes differ from run to run, its pictures hardly."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(DEMO_RATE), options={"crf": "20"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for rgb in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())
