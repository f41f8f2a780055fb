import numpy as np

from glus_edge.runtime.device.device import HostDevice
from glus_edge.runtime.language.language_model import Answer
from glus_edge.runtime.language.segment_embeddings import SegmentEmbeddings


def answer(value, *segmented):
    embedding = np.full((len(segmented), 4), value, np.float32)
    return Answer(embedding, np.array(segmented), 0)


def test_nothing_is_known_at_first_and_what_is_decoded_then_is_zero():
    embeddings = SegmentEmbeddings(HostDevice(), 2, 4)
    assert not embeddings.known.any()
    assert not np.any(embeddings.values)


def test_an_update_leaves_a_sentence_without_an_answer_the_embedding_it_had():
    embeddings = SegmentEmbeddings(HostDevice(), 3, 4)
    embeddings.update(answer(1.0, True, True, False))
    embeddings.update(answer(2.0, False, True, False))
    assert np.asarray(embeddings.values)[:, 0].tolist() == [1.0, 2.0, 0.0]
    assert embeddings.known.tolist() == [True, True, False]


def test_a_replacement_leaves_a_sentence_without_an_answer_nothing():
    embeddings = SegmentEmbeddings(HostDevice(), 2, 4)
    embeddings.replace(answer(1.0, True, True))
    embeddings.replace(answer(2.0, False, True))
    assert embeddings.known.tolist() == [False, True]


def test_selected_sentences_have_copies_of_theirs():
    embeddings = SegmentEmbeddings(HostDevice(), 3, 4)
    for value, segmented in ((1.0, (True, True, True)), (2.0, (False, False, True))):
        embeddings.update(answer(value, *segmented))
    other = embeddings.select((2, 0))
    embeddings.replace(answer(9.0, False, False, False))
    assert np.asarray(other.values)[:, 0].tolist() == [2.0, 1.0]
    assert other.known.tolist() == [True, True]
