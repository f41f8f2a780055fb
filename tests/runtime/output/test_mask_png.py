import io

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from glus_edge.runtime.output.mask_png import png_from_mask


@settings(deadline=None, max_examples=50)
@given(height=st.integers(1, 70), width=st.integers(1, 70), seed=st.integers(0, 2**32 - 1), density=st.floats(0, 1))
def test_any_mask_is_read_back_by_other_libraries(height: int, width: int, seed: int, density: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < density
    png = png_from_mask(mask)
    wanted = mask * np.uint8(255)
    read = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.uint8
    assert np.array_equal(read, wanted)
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), wanted)


def test_a_mask_that_is_not_contiguous_is_written_as_it_looks() -> None:
    mask = (np.arange(60).reshape(6, 10) % 7 < 3).T
    read = cv2.imdecode(np.frombuffer(png_from_mask(mask), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(read > 0, mask)
