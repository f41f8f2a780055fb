import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glus_edge.calibration.methods.ranges import METHODS, MagnitudeHistogram


def histogram(*parts):
    counted = MagnitudeHistogram()
    for part in parts:
        counted.add(np.asarray(part, np.float32))
    return counted


@given(st.lists(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=20), min_size=1, max_size=5))
def test_the_maximum_is_exact_in_any_order(parts):
    largest = max(abs(np.float32(value)) for part in parts for value in part)
    assert histogram(*parts).reach("max", 127) == pytest.approx(max(largest, 1e-8))


@pytest.mark.parametrize("method", METHODS)
def test_zeros_still_get_a_range(method):
    assert histogram(np.zeros(5)).reach(method, 127) > 0


def test_one_outlier_widens_the_maximum_alone():
    values = np.random.default_rng(0).standard_normal(200_000)
    counted = histogram(values, [400.0])
    assert counted.reach("max", 127) == 400.0
    assert counted.reach("percentile", 127) < 10
    assert counted.reach("mse", 127) <= 400.0


def mean_square_error(values, reach):
    scale = reach / 127
    return np.mean((np.clip(np.rint(values / scale), -127, 127) * scale - values) ** 2)


@pytest.mark.parametrize("tail", [1.5, 3.0, 10.0])
def test_the_least_error_is_near_the_least_there_is(tail):
    values = np.random.default_rng(1).standard_t(tail, 100_000).astype(np.float32)
    counted = histogram(values[:1000], values[1000:])
    best = min(mean_square_error(values, reach) for reach in np.geomspace(0.01, 1, 200) * np.abs(values).max())
    found = mean_square_error(values, counted.reach("mse", 127))
    assert found <= 1.1 * best
    assert found <= 1.001 * mean_square_error(values, counted.largest)
