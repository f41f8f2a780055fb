"""The baseline on the same GPU in the same run: the reference algorithm in torch, bfloat16, with random weights."""

import gc
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from glus_edge.benchmarks.gpu.clock import Clock
from glus_edge.benchmarks.gpu.frames import Frames, reference_frames
from glus_edge.benchmarks.gpu.settings import TORCH
from glus_edge.benchmarks.reference.reference import Parts, Reference
from glus_edge.benchmarks.reference.reference_language import Place, ReferenceLanguage
from glus_edge.benchmarks.reference.reference_sam2 import ReferenceSam2
from glus_edge.export.checkpoint.tensor_names import language_shapes
from glus_edge.export.checkpoint.vision_tower import vision_shapes
from glus_edge.export.synthetic.sizes import SyntheticSize
from glus_edge.export.synthetic.weights import language_tensor, random_tensor
from glus_edge.export.vision.sam2_model import build_sam2
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.errors import EngineError
from glus_edge.runtime.utils.stopwatch import Stopwatch

GPU = Place("cuda", torch.bfloat16)  # the reference's own default


def baseline_frames(size: SyntheticSize, bundle: Bundle, clock: Clock, kept_s: float) -> Frames:
    """The algorithm's frames, with a model that is gone from the device behind them.

    EngineError: torch has no usable GPU here, or its memory ran out.
    """
    if not torch.cuda.is_available():
        built_for = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for the CPU"
        raise EngineError(f"torch {torch.__version__}: no usable GPU ({built_for})")
    try:
        torch.ones(1, device="cuda").add_(1)
    except RuntimeError as error:  # a GPU that this torch was not built for is there all the same
        raise EngineError(
            f"torch {torch.__version__}: cannot compute on this GPU ({str(error).splitlines()[0]})"
        ) from error
    try:
        return _frames(size, bundle, clock, kept_s)
    except torch.OutOfMemoryError as error:
        traceback.clear_frames(error.__traceback__)  # which hold the model
        raise EngineError(f"torch: {' '.join(str(error).split())[:120]}; a smaller --size may fit") from error
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def _frames(size: SyntheticSize, bundle: Bundle, clock: Clock, kept_s: float) -> Frames:
    with clock.phase("torch: model"):
        reference = Reference(RandomSource(size), bundle)
    with clock.phase("torch: frames"):
        return reference_frames(reference, TORCH, clock, kept_s)


@dataclass(frozen=True)
class RandomSource:
    """See glus_edge.benchmarks.reference.reference.Source. Weights are drawn on the device; [SEG] always wins."""

    size: SyntheticSize
    place: Place = GPU

    def parts(self, bundle: Bundle) -> Parts:
        """See Source."""
        size, place = self.size, self.place
        generator = torch.Generator(place.device).manual_seed(0)
        texts, pictures = language_shapes(size.language), vision_shapes(size.vision)
        segment_id = bundle.manifest.prompt.segment_token_id

        def language(name: str) -> Tensor:
            with torch.device(place.device):
                return language_tensor(name, texts[name], size.language, segment_id, generator)

        def tower(name: str) -> Tensor:
            with torch.device(place.device):
                return random_tensor(name, pictures[name], generator)

        stopwatch = _Waiting(torch.cuda.synchronize if place.device == "cuda" else lambda: None)
        sam2 = ReferenceSam2(build_sam2(size.sam2_tree()), bundle.manifest.memory, stopwatch, place)
        return Parts(ReferenceLanguage(size.language, size.vision, language, tower, place), sam2, stopwatch)


class _Waiting(Stopwatch):
    """Charges a stage with what it has the device do: by the host's clock alone it would be the stage that waits."""

    def __init__(self, wait: Callable[[], None]) -> None:
        super().__init__()
        self._wait = wait

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """See Stopwatch."""
        with super().stage(name):
            yield
            self._wait()
