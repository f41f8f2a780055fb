"""Nothing that a propagation knows is lost when it goes on with some of its sentences."""

from dataclasses import dataclass, fields

import pytest

from glus_edge.runtime.loop.propagation_state import PropagationState
from glus_edge.runtime.policies.back_off import BackOff
from glus_edge.runtime.policies.lost_target import TargetState


@dataclass(frozen=True)
class Part:
    """Stands for a part that selects by itself."""

    name: str
    sentences: tuple = (0, 1, 2)

    def select(self, sentences):
        return Part(self.name, sentences)


TARGETS = [TargetState(suspect) for suspect in (5, 6, 7)]
# field -> its value for three sentences, and what becomes of it when sentences 2 and 0 are selected
EXPECTED = {
    "step": (9, 9),
    "age": (3, 3),
    "asked": (4, 4),
    "window": ((1, 2), (1, 2)),
    "recent": (("a frame",), ("a frame",)),
    "back_off": (BackOff(4), BackOff(4)),
    "scene": ("colours", "colours"),
    "targets": (TARGETS, [TARGETS[2], TARGETS[0]]),
    "signals": ({1: "one", 2: "two"}, {0: "two"}),
    "reader": (Part("reader"), Part("reader", (2, 0))),
    "embeddings": (Part("embeddings"), Part("embeddings", (2, 0))),
    "tracker": (Part("tracker"), Part("tracker", (2, 0))),
}
FIELDS = [field.name for field in fields(PropagationState)]


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_carried(name):
    state = PropagationState(**{field: before for field, (before, _) in EXPECTED.items()})
    assert getattr(state.select((2, 0)), name) == EXPECTED[name][1]


@pytest.mark.parametrize("name", FIELDS)
def test_no_container_is_shared_with_the_state_it_came_from(name):
    state = PropagationState(**{field: before for field, (before, _) in EXPECTED.items()})
    if isinstance(getattr(state, name), list | dict):
        assert getattr(state.select((0, 1, 2)), name) is not getattr(state, name)


def test_a_field_cannot_be_left_out():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'tracker'"):
        PropagationState(**{name: before for name, (before, _) in EXPECTED.items() if name != "tracker"})
