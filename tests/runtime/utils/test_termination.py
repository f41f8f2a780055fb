"""Signals that come while work must not be torn apart."""

import signal

import pytest

from glus_edge.runtime.utils.termination import interrupted_by_sigterm, interruption_put_off


@pytest.mark.usefixtures("heeded_ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_waits_for_the_end_of_the_block(number: int) -> None:
    seen: list[str] = []

    def work() -> None:
        with interruption_put_off(lambda: seen.append("noted")):
            signal.raise_signal(number)
            signal.raise_signal(number)
            seen.append("end")

    with interrupted_by_sigterm():
        with pytest.raises(KeyboardInterrupt):
            work()
        assert seen == ["noted", "noted", "end"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)  # as before


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruption_put_off(lambda: pytest.fail("heeded")):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_without_a_signal_nothing_is_raised() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruption_put_off(lambda: pytest.fail("noted")):
        pass
    assert signal.getsignal(signal.SIGINT) is before
