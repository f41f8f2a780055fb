"""What a propagation carries from one frame to the next."""

from dataclasses import dataclass

from glus_edge.runtime.language.segment_embeddings import SegmentEmbeddings
from glus_edge.runtime.loop.sentence_batch import SentenceBatch
from glus_edge.runtime.policies.back_off import BackOff
from glus_edge.runtime.policies.lost_target import TargetState
from glus_edge.runtime.policies.mask_signals import MaskSignalReader, MaskSignals
from glus_edge.runtime.policies.memory_rule import MemoryRule
from glus_edge.runtime.policies.scene_change import SceneColors
from glus_edge.runtime.tracking.mask_tracker import MaskTracker
from glus_edge.runtime.tracking.memory_bank import MemoryBank
from glus_edge.runtime.video.frame import Frame


@dataclass(eq=False)
class PropagationState:
    """All of it. No field has a default, so that `start` and `select` cannot leave one out."""

    step: int  # frames so far
    age: int | None  # frames since the language model was asked; None: it has not been
    asked: int  # questions since the conversation began
    window: tuple[int, ...]  # query frames of the last prompt
    recent: tuple[Frame, ...]  # the frames that a contiguous window may show, this one last
    back_off: BackOff
    scene: SceneColors | None  # of the frame asked about last, if a rule needs to know how the colours change
    targets: list[TargetState]  # by sentence
    signals: dict[int, MaskSignals]  # of the frame before, by sentence; only of those whose object is not lost
    reader: MaskSignalReader
    embeddings: SegmentEmbeddings
    tracker: MaskTracker

    @classmethod
    def start(cls, batch: SentenceBatch, memory: MemoryRule) -> "PropagationState":
        """Before the first frame: nothing asked, nothing remembered."""
        shared, manifest = batch.shared, batch.shared.bundle.manifest
        device = shared.engines.language_model.device
        bank = MemoryBank(batch.sentences, manifest.memory, memory)
        return cls(
            step=0,
            age=None,
            asked=0,
            window=(),
            recent=(),
            back_off=BackOff(),
            scene=None,
            targets=[TargetState()] * batch.sentences,
            signals={},
            reader=MaskSignalReader(batch.sentences),
            embeddings=SegmentEmbeddings(device, batch.sentences, manifest.model.segment_width),
            tracker=MaskTracker(shared.engines.sam, manifest.model, bank, shared.features, shared.stopwatch),
        )

    def select(self, sentences: tuple[int, ...]) -> "PropagationState":
        """The state of these sentences alone, in buffers of its own: what becomes of one leaves the other as it is."""
        return PropagationState(
            step=self.step,
            age=self.age,
            asked=self.asked,
            window=self.window,
            recent=self.recent,
            back_off=self.back_off,
            scene=self.scene,
            targets=[self.targets[sentence] for sentence in sentences],
            signals={row: self.signals[i] for row, i in enumerate(sentences) if i in self.signals},
            reader=self.reader.select(sentences),
            embeddings=self.embeddings.select(sentences),
            tracker=self.tracker.select(sentences),
        )
