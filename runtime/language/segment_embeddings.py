"""The segment embeddings that the mask decoder is prompted with, one a sentence, until they are replaced."""

import numpy as np

from glus_edge.runtime.device.device import Device
from glus_edge.runtime.language.language_model import Answer


class SegmentEmbeddings:
    """The last embedding of every sentence of a batch, in a buffer of its own on the device."""

    def __init__(self, device: Device, sentences: int, width: int) -> None:
        self._device, self._width = device, width
        # [sentences, width] float32. Zeros: what has no embedding yet is decoded with the others, and must not come out
        # differently every time.
        self.values = device.zeros((sentences, width), "float32")
        self.known = np.zeros(sentences, np.bool_)  # [sentences] which have an embedding

    def replace(self, answer: Answer) -> None:
        """Takes the answer's embeddings. A sentence without [SEG] has none from now on."""
        self._device.copy(self.values, answer.segment_embedding)
        self.known = answer.segmented

    def update(self, answer: Answer) -> None:
        """Takes the answer's embeddings. A sentence without [SEG] keeps the one it had."""
        if answer.segmented.all():
            self._device.copy(self.values, answer.segment_embedding)
        else:
            for sentence in np.flatnonzero(answer.segmented).tolist():
                self._device.copy(self.values[sentence], answer.segment_embedding[sentence])
        self.known = self.known | answer.segmented

    def select(self, sentences: tuple[int, ...]) -> "SegmentEmbeddings":
        """A second buffer with the embeddings of these sentences."""
        other = SegmentEmbeddings(self._device, len(sentences), self._width)
        for row, sentence in enumerate(sentences):
            self._device.copy(other.values[row], self.values[sentence])
        other.known = self.known[list(sentences)]
        return other
