import numpy as np
import pytest

from glus_edge.runtime.policies.scene_change import SceneColors
from glus_edge.runtime.video.frame import Frame


def frame(*colors):
    """Equal stripes of these colours, 64 x 96."""
    rgb = np.zeros((64, 96, 3), np.uint8)
    for place, stripe in enumerate(np.array_split(np.arange(96), len(colors))):
        rgb[:, stripe] = colors[place]
    return Frame(0, 0.0, rgb)


RED, BLUE = (200, 30, 30), (30, 30, 200)


def test_colours_that_moved_have_not_changed_and_others_have():
    colors = SceneColors.read(frame(RED, BLUE))
    assert colors.change(frame(RED, BLUE)) == pytest.approx(0, abs=1e-3)
    assert colors.change(frame(BLUE, RED)) < 0.1
    assert SceneColors.read(frame(RED)).change(frame(BLUE)) == pytest.approx(1, abs=1e-3)
