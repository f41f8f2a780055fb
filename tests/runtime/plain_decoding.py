"""What a video file holds, decoded from end to end in the plainest way."""

from pathlib import Path

import av
import numpy as np


def sequential(path: Path) -> list[np.ndarray]:
    """The frames as plain decoding from the start gives them."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
