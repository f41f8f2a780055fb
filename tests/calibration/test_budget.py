import pytest
from hypothesis import given
from hypothesis import strategies as st

from glus_edge.calibration.budget import Budget, Option, ordered_steps, within_loss, within_size
from glus_edge.runtime.errors import InputError


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("12 GB", Budget(12_000_000_000, None)),
        ("1.5MiB", Budget(1_572_864, None)),
        (" 0.5 J&F ", Budget(None, 0.5)),
        ("2 j&f", Budget(None, 2.0)),
    ],
)
def test_a_budget_is_a_size_or_a_loss(text, budget):
    assert Budget.parse(text) == budget


@pytest.mark.parametrize("text", ["", "12", "GB", "-3 GB", "12 apples", "1 GB 2"])
def test_anything_else_is_named(text):
    with pytest.raises(InputError, match=r"--budget: got .* expected a size"):
        Budget.parse(text)


def units(*sizes):
    return {("language_model", str(place)): size for place, size in enumerate(sizes)}


def test_what_saves_most_for_the_least_harm_goes_first():
    sizes = units(100, 100)
    first, second = sizes
    options = {first: [Option("int8", 50, 5.0)], second: [Option("int8", 50, 1.0), Option("int4", 25, 8.0)]}
    steps = ordered_steps(sizes, options)
    assert [(step.unit, step.precision) for step in steps] == [("1", "int8"), ("0", "int8"), ("1", "int4")]
    assert [step.saved_bytes for step in steps] == [50, 50, 25]
    assert steps[2].harm == pytest.approx(7.0)


def test_a_precision_that_harms_more_and_saves_less_is_skipped():
    sizes = units(100)
    (unit,) = sizes
    steps = ordered_steps(sizes, {unit: [Option("int8", 50, 5.0), Option("int4", 25, 4.0), Option("fp32", 100, 0.0)]})
    assert [(step.precision, step.saved_bytes) for step in steps] == [("int4", 75)]


@given(
    st.lists(
        st.tuples(
            st.integers(10, 1000),
            st.lists(st.tuples(st.integers(1, 9), st.floats(0, 10)), min_size=1, max_size=3, unique_by=lambda o: o[0]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_every_prefix_of_the_ladder_is_a_state_of_the_bundle(drawn):
    sizes = units(*(size for size, _ in drawn))
    options = {
        unit: [Option(f"p{size}", size, harm) for size, harm in offered]
        for unit, (_, offered) in zip(sizes, drawn, strict=True)
    }
    at = dict(sizes)
    prices = []
    for step in ordered_steps(sizes, options):
        unit = (step.graph, step.unit)
        (option,) = [option for option in options[unit] if option.precision == step.precision]
        assert at[unit] - step.saved_bytes == option.size_bytes
        at[unit] = option.size_bytes
        prices.append(step.harm / step.saved_bytes)
    assert prices == sorted(prices)
    assert all(at[unit] == min(option.size_bytes for option in options[unit]) for unit in sizes)


def test_a_size_takes_as_few_steps_as_it_needs():
    sizes = units(100, 100)
    steps = ordered_steps(sizes, {unit: [Option("int8", 50, 1.0)] for unit in sizes})
    assert [within_size(steps, 200, budget) for budget in (200, 199, 150, 149, 100)] == [0, 1, 1, 2, 2]
    with pytest.raises(InputError, match=r"got 0\.0 MB, expected at least 0\.0 MB"):
        within_size(steps, 200, 99)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0, 10))
def test_a_loss_takes_every_step_it_can_bear(increments, allowed):
    lost = [0.0]
    for increment in increments:
        lost.append(lost[-1] + increment)
    bearable = max(count for count, value in enumerate(lost) if value <= allowed)
    if bearable == 0:
        with pytest.raises(InputError, match=r"expected at least \d"):
            within_loss(len(increments), lost.__getitem__, allowed)
    else:
        assert within_loss(len(increments), lost.__getitem__, allowed) == bearable
