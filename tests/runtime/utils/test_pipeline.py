import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glus_edge.runtime.utils.pipeline import Behind, ahead


def threads():
    return [thread for thread in threading.enumerate() if thread.name in ("glus-edge-ahead", "glus-edge-behind")]


@given(st.lists(st.integers()), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_the_same_items_come_in_the_same_order(items, depth):
    assert list(ahead(iter(items), depth)) == items
    done = []
    with Behind(done.append, depth) as behind:
        for item in items:
            behind.put(item)
    assert done == items
    assert not threads()


def test_never_more_than_the_depth_is_made_in_advance():
    made = []

    def source():
        for number in range(20):
            made.append(number)
            yield number

    for number in ahead(source(), depth=2):
        time.sleep(0.002)
        assert len(made) <= number + 1 + 2 + 1  # handed out, queued, and one in the maker's hand


def test_an_error_comes_where_its_item_would_have_come():
    def source():
        yield 1
        yield 2
        raise ValueError("frame 2 is broken")

    iterator = ahead(source())
    assert [next(iterator), next(iterator)] == [1, 2]
    with pytest.raises(ValueError, match="frame 2 is broken"):
        next(iterator)
    assert not threads()


def test_a_consumer_that_leaves_early_stops_the_maker():
    iterator = ahead(iter(range(10**9)), depth=1)
    assert next(iterator) == 0
    iterator.close()
    assert not threads()


def test_a_workers_error_ends_the_run_and_nothing_after_it_is_worked_on():
    done = []

    def work(item):
        if item == 3:
            raise OSError("disk full")
        done.append(item)

    def run():
        with Behind(work, depth=1) as behind:
            for item in range(1000):
                behind.put(item)

    with pytest.raises(OSError, match="disk full"):
        run()
    assert done == [0, 1, 2]
    assert not threads()


def test_an_error_in_the_block_is_the_one_that_is_seen_and_what_was_queued_is_done():
    done = []

    def run():
        with Behind(done.append, depth=4) as behind:
            behind.put(1)
            behind.put(2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert done == [1, 2]


def test_ctrl_c_while_the_rest_is_waited_for_leaves_no_worker_behind(monkeypatch):
    done = []

    def work(item):
        time.sleep(0.02)
        done.append(item)

    behind = Behind(work)
    join = behind._thread.join

    def interrupted():
        monkeypatch.setattr(behind._thread, "join", join)
        raise KeyboardInterrupt

    monkeypatch.setattr(behind._thread, "join", interrupted)
    behind.__enter__()
    for item in range(3):
        behind.put(item)
    with pytest.raises(KeyboardInterrupt):
        behind.__exit__(None, None, None)
    assert not threads()
    assert done == list(range(len(done)))
    assert len(done) < 3
