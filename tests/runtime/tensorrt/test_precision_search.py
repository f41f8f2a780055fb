from hypothesis import given
from hypothesis import strategies as st

from glus_edge.runtime.tensorrt.precision_search import Form, next_form

BLOCKS = ("a", "b", "c")


def forms(start, blocks, distance_of):
    """Everything that is tried if nothing is ever right."""
    tried, distances = [], []
    while (form := next_form(start, blocks, distances)) is not None:
        tried.append(form)
        distances.append(distance_of(form))
    return tried


def test_without_blocks_whole_precisions_are_tried():
    assert forms("fp16", (), lambda _: None) == [Form("fp16"), Form("bf16"), Form("fp32")]
    assert forms("fp32", (), lambda _: None) == [Form("fp32")]


def test_each_block_is_tried_alone_and_then_those_that_helped_together():
    tried = forms("fp16", BLOCKS, lambda form: 0.1 if {"a", "c"} & set(form.raised) else 0.2)
    alone = [Form("fp16", (block,)) for block in BLOCKS]
    assert tried == [Form("fp16"), *alone, Form("fp16", ("a", "c")), Form("bf16"), Form("fp32")]
    assert tried[4].label == "fp16 with a, c in fp32"


def test_one_block_that_helped_is_not_tried_twice():
    tried = forms("fp16", BLOCKS, lambda form: 0.1 if form.raised == ("b",) else 0.2)
    assert [form.raised for form in tried] == [(), ("a",), ("b",), ("c",), (), ()]


def test_a_block_that_turns_nan_into_a_number_has_helped():
    tried = forms("fp16", BLOCKS, lambda form: 9.0 if {"a", "b"} & set(form.raised) else None)
    assert Form("fp16", ("a", "b")) in tried


@given(st.lists(st.one_of(st.none(), st.floats(0, 10)), max_size=9))
def test_it_ends_with_the_whole_graph_in_float32_and_tries_nothing_twice(distances):
    values = iter([*distances, *[None] * 9])
    tried = forms("fp16", BLOCKS, lambda _: next(values))
    assert tried[-2:] == [Form("bf16"), Form("fp32")]
    assert len(set(tried)) == len(tried) <= 3 + len(BLOCKS) + 1
