from hypothesis import given, settings
from hypothesis import strategies as st

from glus_edge.runtime.manifest import MemorySettings
from glus_edge.runtime.memory_bank import MemoryBank, attended_steps

# The reference's own table (slots 7, stride 3), steps 0 to 20.
REFERENCE = [
    (),
    (0,),
    (0, 1),
    (0, 2),
    (0, 3),
    (0, 3, 4),
    (0, 3, 5),
    (0, 3, 6),
    (0, 3, 6, 7),
    (0, 3, 6, 8),
    (0, 3, 6, 9),
    (0, 3, 6, 9, 10),
    (0, 3, 6, 9, 11),
    (0, 3, 6, 9, 12),
    (0, 3, 6, 9, 12, 13),
    (0, 3, 6, 9, 12, 14),
    (0, 3, 6, 9, 12, 15),
    (0, 3, 6, 9, 12, 15, 16),
    (0, 3, 6, 9, 12, 15, 17),
    (0, 3, 6, 9, 12, 15, 18),
    (3, 6, 9, 12, 15, 18, 19),
]

memory_settings = st.builds(MemorySettings, slots=st.integers(1, 9), stride=st.integers(1, 5))


def test_attended_steps_are_the_references():
    assert [attended_steps(step, MemorySettings()) for step in range(21)] == REFERENCE


@given(memory_settings, st.lists(st.frozensets(st.integers(0, 2)), min_size=1, max_size=60))
@settings(max_examples=200, deadline=None)
def test_each_sentence_reads_the_steps_it_was_segmented_at_and_no_others(memory, segmented):
    """A dictionary that keeps everything is the model; the bank has `slots` places."""
    bank, kept, slots = MemoryBank(3, memory), {}, [None] * memory.slots
    for step, found in enumerate(segmented):
        for group in bank.groups(step):
            for sentence in group.sentences:
                wanted = [s for s in attended_steps(step, memory) if sentence in kept.get(s, ())]
                assert [slots[slot] for slot in group.slots] == wanted
        assert sorted(sentence for group in bank.groups(step) for sentence in group.sentences) == [0, 1, 2]
        if found:  # a step at which no sentence is segmented stores nothing
            slots[bank.store(step, found)] = step
            kept[step] = found


@given(memory_settings)
def test_sentences_that_are_always_segmented_read_one_block_from_slot_0(memory):
    bank = MemoryBank(2, memory)
    for step in range(60):
        (group,) = bank.groups(step)
        assert sorted(group.slots) == list(range(len(group.slots)))
        bank.store(step, frozenset({0, 1}))


def test_a_copy_goes_its_own_way():
    bank = MemoryBank(1, MemorySettings())
    bank.store(0, frozenset({0}))
    other = bank.copy()
    bank.store(1, frozenset({0}))
    assert [group.slots for group in bank.groups(2)] == [(0, 1)]
    assert [group.slots for group in other.groups(1)] == [(0,)]
