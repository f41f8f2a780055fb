import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glus_edge.runtime.output.legend import draw_legend, sentence_colour
from glus_edge.runtime.output.overlay import OPACITY, OverlayWriter, draw_masks, write_overlay
from glus_edge.runtime.video.frame import Frame
from glus_edge.runtime.video.video import open_video


def grey(height: int, width: int, value: int = 100) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_a_mask_is_filled_translucently_and_has_a_contour_in_its_colour() -> None:
    masks = np.zeros((2, 60, 80), np.bool_)
    masks[0, 10:30, 10:30] = True
    masks[1, 40:55, 50:70] = True
    picture = grey(60, 80)
    drawn = draw_masks(picture, masks)
    for sentence, (inside, edge) in enumerate((((20, 20), (10, 15)), ((47, 60), (40, 55)))):
        colour = np.array(sentence_colour(sentence))
        assert np.allclose(drawn[inside], (1 - OPACITY) * 100 + OPACITY * colour, atol=1)
        assert np.array_equal(drawn[edge], colour)
    assert np.array_equal(drawn[5, 5], (100, 100, 100))
    assert np.array_equal(picture, grey(60, 80))


def test_a_hole_in_a_mask_stays_clear() -> None:
    masks = np.zeros((1, 60, 60), np.bool_)
    masks[0, 10:50, 10:50] = True
    masks[0, 20:40, 20:40] = False
    assert np.array_equal(draw_masks(grey(60, 60), masks)[30, 30], (100, 100, 100))


def test_sentences_have_colours_that_can_be_told_apart() -> None:
    colours = np.array([sentence_colour(sentence) for sentence in range(8)], np.float64)
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1) + 1000 * np.eye(8)
    assert distances.min() > 60


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 200),
    width=st.integers(1, 300),
    sentences=st.lists(st.text(max_size=80), min_size=1, max_size=9),
)
def test_a_legend_fits_any_picture_and_any_sentences(height: int, width: int, sentences: list[str]) -> None:
    drawn = draw_legend(grey(height, width), tuple(sentences))
    assert drawn.shape == (height, width, 3)


def test_the_legend_shows_each_sentences_colour_and_leaves_the_rest_of_the_picture() -> None:
    drawn = draw_legend(grey(480, 640), ("the red ball", "the dog"))
    flat = {tuple(pixel) for pixel in drawn.reshape(-1, 3).tolist()}
    assert {sentence_colour(0), sentence_colour(1)} <= flat
    assert (drawn[240:] == 100).all()
    assert (drawn[:, 400:] == 100).all()


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (97, 161), (128, 128)])
def test_any_size_is_padded_to_even_sides(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "overlay"
    frames = [Frame(index, index / 10, grey(*size)) for index in range(3)]
    write_overlay(path, frames, lambda frame: np.zeros((1, *frame.size), np.bool_), ("x",), Fraction(10))
    height, width = (side + side % 2 for side in size)
    video = open_video(path)
    assert video.size == (height, width)
    assert video.frame_count == 3


def test_the_overlay_keeps_the_times_of_the_frames(tmp_path: Path) -> None:
    times = [0.5, 0.54, 0.8, 0.8, 2.0]
    frames = [Frame(index, time, grey(32, 32)) for index, time in enumerate(times)]
    write_overlay(tmp_path / "o", frames, lambda frame: np.zeros((0, *frame.size), np.bool_), ("x",), Fraction(10))
    video = open_video(tmp_path / "o")
    assert [frame.time for frame in video.frames()] == pytest.approx([0, 0.04, 0.3, 0.3, 1.5], abs=1e-4)


def test_the_overlay_keeps_the_colours_of_the_frames(tmp_path: Path) -> None:
    picture = np.empty((64, 64, 3), np.uint8)
    picture[...] = (200, 60, 30)
    frames = [Frame(index, index / 10, picture) for index in range(3)]
    # Without a sentence's swatch and text in the corner that is looked at.
    write_overlay(tmp_path / "o", frames, lambda frame: np.zeros((0, *frame.size), np.bool_), ("x",), Fraction(10))
    shown = open_video(tmp_path / "o").read(2).rgb[-8:, -8:]
    assert np.abs(shown.astype(int) - (200, 60, 30)).max() <= 6
    with av.open(str(tmp_path / "o")) as container:
        assert container.streams.video[0].codec_context.colorspace == 1


def test_the_overlay_of_pixels_that_are_not_square_keeps_the_shape(tmp_path: Path) -> None:
    path = tmp_path / "overlay.mp4"
    rgb = np.zeros((48, 64, 3), np.uint8)
    with OverlayWriter(path, ("a",), Fraction(10)) as writer:
        writer.write(Frame(0, 0.0, rgb, pixel_aspect=Fraction(2)), np.zeros((1, 48, 64), np.bool_))
    with av.open(str(path)) as container:
        assert container.streams.video[0].sample_aspect_ratio == 2


_WRITES_TEN_SECONDS_AND_IS_KILLED = """
import os, signal, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from glus_edge.runtime.output.overlay import OverlayWriter
from glus_edge.runtime.video.frame import Frame

writer = OverlayWriter(Path(sys.argv[1]), ("x",), Fraction(10), fragmented=True)
for index in range(100):
    writer.write(Frame(index, index / 10, np.full((48, 64, 3), index, np.uint8)), np.zeros((1, 48, 64), np.bool_))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_wrote_of_a_fragmented_overlay_plays(tmp_path: Path) -> None:
    path = tmp_path / "overlay.mp4"
    killed = subprocess.run([sys.executable, "-c", _WRITES_TEN_SECONDS_AND_IS_KILLED, path], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    with av.open(str(path)) as container:
        shown = [frame.time for frame in container.decode(video=0)]
    assert shown == pytest.approx([index / 10 for index in range(len(shown))])
    assert len(shown) >= 60  # of 100: a fragment is 2 seconds, and the encoder looks some frames ahead


def test_a_fragmented_overlay_that_was_finished_is_an_ordinary_file(tmp_path: Path) -> None:
    path = tmp_path / "overlay.mp4"
    with OverlayWriter(path, ("x",), Fraction(10), fragmented=True) as writer:
        for index in range(50):
            writer.write(Frame(index, index / 10, grey(48, 64, index)), np.zeros((1, 48, 64), np.bool_))
    video = open_video(path)
    assert (video.frame_count, video.truncated) == (50, None)
    with av.open(str(path)) as container:
        assert container.duration == 5_000_000  # microseconds
