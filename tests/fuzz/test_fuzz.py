"""A few seconds of each fuzz target; `make fuzz` goes on for as long as wished."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import EXPORT_TARGETS, TARGETS, run_one


@pytest.mark.parametrize(
    "target",
    [pytest.param(name, marks=[pytest.mark.torch] if name in EXPORT_TARGETS else []) for name in TARGETS],
)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**63 - 1))
def test_a_mutated_input_is_read_or_refused_in_one_line(tmp_path: Path, target: str, seed: int) -> None:
    run_one(target, seed, tmp_path)
