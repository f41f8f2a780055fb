import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glus_edge.runtime.bundle.manifest import MemorySettings
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.policies.memory_rule import MemoryRecord, MemoryRule, attended_steps, memory_rule
from glus_edge.runtime.tracking.memory_bank import MemoryBank

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


class Pool:
    """The slots as a device would hold them: the bank's placements are carried out, and what is read is looked up."""

    def __init__(self, bank, sentences, slots):
        self.bank, self.places = bank, [[None] * slots for _ in range(sentences)]

    def store(self, step, memories):
        placement = self.bank.store(step, memories)
        for move in placement.moves:
            places = self.places[move.sentence]
            places[move.target] = places[move.source]
        for sentence, slot in placement.slots.items():
            self.places[sentence][slot] = step

    def read(self):
        """Steps read by each sentence."""
        found = {}
        for group in self.bank.groups():
            for sentence in group.sentences:
                assert sentence not in found
                found[sentence] = sorted(self.places[sentence][: group.count])
        return found


@given(memory_settings, st.lists(st.frozensets(st.integers(0, 2)), min_size=1, max_size=60))
@settings(max_examples=200, deadline=None)
def test_each_sentence_reads_the_references_steps_as_far_as_it_was_segmented_there(memory, segmented):
    """A dictionary that keeps everything is the model; the pool has `slots` places."""
    kept, pool = {}, Pool(MemoryBank(3, memory), 3, memory.slots)
    for step, found in enumerate(segmented):
        wanted = [[s for s in attended_steps(step, memory) if sentence in kept[s]] for sentence in range(3)]
        assert pool.read() == dict(enumerate(wanted))
        pool.store(step, {sentence: MemoryRecord(step) for sentence in found})
        kept[step] = found


observed = st.builds(
    MemoryRecord,
    step=st.just(0),
    predicted_iou=st.sampled_from([0.0, 0.3, 0.31, 0.8, 0.9]),
    object_score=st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0]),
    growth=st.sampled_from([0.5, 0.8, 1.0, 1.2, 1.3]),
    contested=st.booleans(),
    asked=st.booleans(),
)
rules = st.sampled_from(["reference", *("+".join(parts) for parts in [
    ("confident",), ("anchors",), ("distractors",), ("present",), ("confident", "anchors", "present"),
    ("anchors", "distractors"), ("confident", "anchors", "distractors", "present"),
])])  # fmt: skip


@given(memory_settings, rules, st.lists(st.lists(observed, min_size=2, max_size=2), max_size=50))
@settings(max_examples=200, deadline=None)
def test_the_pool_holds_for_each_sentence_what_its_rule_keeps_of_its_own_frames(memory, name, frames):
    """The model is a list a sentence, to which the rule is applied after every step."""
    rule, lists = MemoryRule(name, oldest=20), [[], []]
    pool = Pool(MemoryBank(2, memory, rule), 2, memory.slots)
    for step, seen in enumerate(frames):
        new = {i: MemoryRecord(**{**vars(each), "step": step}) for i, each in enumerate(seen)}
        pool.store(step, new)
        for i, held in enumerate(lists):
            entry = rule.entry(new[i], tuple(held))
            held = held if entry is None else [*held, entry]
            lists[i] = list(rule.kept(tuple(held), step, memory))
        assert pool.read() == {i: [each.step for each in held] for i, held in enumerate(lists)}
        assert all(len(held) <= memory.slots for held in lists)


@given(memory_settings, st.booleans())
def test_sentences_that_are_always_segmented_fill_slots_one_by_one_and_nothing_is_moved(memory, confident):
    bank = MemoryBank(2, memory, MemoryRule("confident" if confident else "reference"))
    for step in range(60):
        (group,) = bank.groups()
        assert group.count == len(attended_steps(step, memory))
        placement = bank.store(step, {0: MemoryRecord(step), 1: MemoryRecord(step)})
        assert not placement.moves
        assert placement.slots[0] == placement.slots[1] <= group.count


def test_a_copy_goes_its_own_way():
    bank = MemoryBank(1, MemorySettings())
    bank.store(0, {0: MemoryRecord(0)})
    other = bank.select((0,))
    bank.store(1, {0: MemoryRecord(1)})
    assert [memory.step for memory in bank.held(0)] == [0, 1]
    assert [memory.step for memory in other.held(0)] == [0]


def test_some_of_a_batch_keep_their_memories_and_one_can_be_made_to_forget():
    bank = MemoryBank(3, MemorySettings())
    bank.store(0, {1: MemoryRecord(0), 2: MemoryRecord(0)})
    bank.store(1, {2: MemoryRecord(1)})
    rest = bank.select((2, 0))
    assert [[memory.step for memory in rest.held(i)] for i in range(2)] == [[0, 1], []]
    rest.forget(0)
    assert rest.held(0) == ()
    assert len(bank.held(2)) == 2


def test_a_name_that_is_no_rule_is_refused():
    for text in ("", "confident+", "reference+confident", "anchors+anchors", "all"):
        with pytest.raises(InputError, match="memory: got"):
            memory_rule(text)
    assert memory_rule("confident+present").name == "confident+present"
