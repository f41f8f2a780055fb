from hypothesis import given
from hypothesis import strategies as st

from glus_edge.runtime.tensorrt.precision_search import Candidate, next_candidate

BLOCKS = ("a", "b", "c")


def candidates(start, blocks, distance_of):
    """Everything that is tried if nothing is ever right."""
    tried, distances = [], []
    while (candidate := next_candidate(start, blocks, distances)) is not None:
        tried.append(candidate)
        distances.append(distance_of(candidate))
    return tried


def test_without_blocks_whole_precisions_are_tried():
    assert candidates("fp16", (), lambda _: None) == [Candidate("fp16"), Candidate("bf16"), Candidate("fp32")]
    assert candidates("fp32", (), lambda _: None) == [Candidate("fp32")]


def test_each_block_is_tried_alone_and_then_those_that_helped_together():
    tried = candidates("fp16", BLOCKS, lambda candidate: 0.1 if {"a", "c"} & set(candidate.raised) else 0.2)
    alone = [Candidate("fp16", (block,)) for block in BLOCKS]
    assert tried == [Candidate("fp16"), *alone, Candidate("fp16", ("a", "c")), Candidate("bf16"), Candidate("fp32")]
    assert tried[4].label == "fp16 with a, c in fp32"


def test_one_block_that_helped_is_not_tried_twice():
    tried = candidates("fp16", BLOCKS, lambda candidate: 0.1 if candidate.raised == ("b",) else 0.2)
    assert [candidate.raised for candidate in tried] == [(), ("a",), ("b",), ("c",), (), ()]


def test_a_block_that_turns_nan_into_a_number_has_helped():
    tried = candidates("fp16", BLOCKS, lambda candidate: 9.0 if {"a", "b"} & set(candidate.raised) else None)
    assert Candidate("fp16", ("a", "b")) in tried


@given(st.lists(st.one_of(st.none(), st.floats(0, 10)), max_size=9))
def test_it_ends_with_the_whole_graph_in_float32_and_tries_nothing_twice(distances):
    values = iter([*distances, *[None] * 9])
    tried = candidates("fp16", BLOCKS, lambda _: next(values))
    assert tried[-2:] == [Candidate("bf16"), Candidate("fp32")]
    assert len(set(tried)) == len(tried) <= 3 + len(BLOCKS) + 1
