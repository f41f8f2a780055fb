"""ONNX Runtime in float32 on the CPU: what every engine of a build is compared with, call by call and mask by mask."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.backends.engine import Engine, check_tensors
from glus_edge.runtime.backends.onnxruntime_engine import OnnxRuntimeBackend
from glus_edge.runtime.backends.wrapped_engine import WrappedEngine
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.manifest import Manifest
from glus_edge.runtime.bundle.precisions import DTYPES, FP16, FP32
from glus_edge.runtime.bundle.signatures import GRAPHS, GraphSignature
from glus_edge.runtime.device.device import Array, HostArray, host_array
from glus_edge.runtime.onnx_rewrite.precision import model_in_precision
from glus_edge.runtime.onnx_rewrite.temporary_graph import temporary_graph
from glus_edge.runtime.pixels.preprocess import clip_pixels, sam_pixels
from glus_edge.runtime.pixels.tower_inputs import clip_weights, sam_matrices
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.video.frame import Frame
from glus_edge.runtime.video.video import Video


class RecordedCall(NamedTuple):
    """One run of a graph: its tensors on the host."""

    inputs: dict[str, HostArray]
    outputs: dict[str, HostArray]  # all the graph has, also those the loop does not ask for


class ProbeMasks(NamedTuple):
    """What a clip came to."""

    masks: NDArray[np.bool_]  # [frames, sentences, H, W]
    selected: NDArray[np.int64]  # [frames, sentences] which of the decoder's masks was chosen; -1 without [SEG]


def run_clip(segmenter: Segmenter, video: Video, sentences: list[str]) -> ProbeMasks:
    """Every frame of a clip."""
    results = list(segmenter.segment(video, sentences))
    chosen = [[-1 if score.selected_mask is None else score.selected_mask for score in r.scores] for r in results]
    return ProbeMasks(np.stack([result.masks for result in results]), np.array(chosen, np.int64))


class Recording(NamedTuple):
    """A clip as ONNX Runtime computes it in float32."""

    calls: dict[str, list[RecordedCall]]  # the first few of each graph
    clip: ProbeMasks


def record_reference(bundle: Bundle, video: Video, sentences: list[str], calls_per_graph: int) -> Recording:
    """Runs a clip through the bundle's graphs, their half-precision arithmetic replaced by float32."""
    with _in_float32(bundle) as reference:
        backend = _RecordingBackend(reference, calls_per_graph)
        with Segmenter(reference, backend) as segmenter:
            clip = run_clip(segmenter, video, sentences)
    return Recording(backend.calls | _pixel_calls(bundle, video.read(0)), clip)


def _pixel_calls(bundle: Bundle, frame: Frame) -> dict[str, list[RecordedCall]]:
    """What the preprocessing engines must make of a frame: the host's pixels."""
    calls = {}
    for tower, image, weights, pixels in (
        ("clip", bundle.manifest.clip, clip_weights, clip_pixels),
        ("sam", bundle.manifest.sam, sam_matrices, sam_pixels),
    ):
        inputs: dict[str, HostArray] = {"rgb": frame.rgb, **weights(frame.size, image.size)._asdict()}
        inputs |= {name: np.array(getattr(image, name), np.float32).reshape(3, 1, 1) for name in ("mean", "std")}
        calls[f"{tower}_preprocess"] = [RecordedCall(inputs, {f"{tower}_pixels": pixels(frame.rgb, image)[None]})]
    return calls


class _Float32Bundle(Bundle):
    """A bundle some of whose graphs stand in other files."""

    def __init__(self, directory: Path, manifest: Manifest, replaced: Mapping[str, Path]) -> None:
        super().__init__(directory, manifest)
        self._replaced = replaced

    def graph_path(self, graph: str) -> Path:
        """See Bundle."""
        return self._replaced.get(graph) or super().graph_path(graph)


@contextmanager
def _in_float32(bundle: Bundle) -> Iterator[Bundle]:
    """The bundle, its float16 graphs computing in float32 for the moment."""
    with ExitStack() as stack:
        replaced = {}
        for graph in GRAPHS:
            if bundle.manifest.graphs[graph].compute == DTYPES[FP16]:
                path = bundle.graph_path(graph)
                model = model_in_precision(path.read_bytes(), FP32, cast_scales=True)
                replaced[graph] = stack.enter_context(temporary_graph(model, path.parent, f"{graph}.reference"))
        yield _Float32Bundle(bundle.directory, bundle.manifest, replaced)


class _RecordingBackend:
    """ONNX Runtime on the CPU, its first calls kept."""

    name = "onnxruntime"

    def __init__(self, bundle: Bundle, calls_per_graph: int) -> None:
        self._backend = OnnxRuntimeBackend(bundle)
        self._limit = calls_per_graph
        self.device = self._backend.device
        self.calls: dict[str, list[RecordedCall]] = {graph: [] for graph in GRAPHS}

    def open(self, graph: str) -> Engine:
        """See Backend."""
        return _RecordingEngine(self._backend.open(graph), self.calls[graph], self._limit)


class _RecordingEngine(WrappedEngine):
    """An engine that keeps copies of what it reads and writes."""

    def __init__(self, engine: Engine, calls: list[RecordedCall], limit: int) -> None:
        super().__init__(engine)
        self._calls, self._limit = calls, limit

    def run(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """See Engine."""
        if len(self._calls) >= self._limit:
            self._engine.run(inputs, outputs)
            return
        # before the run: the language model writes its new rows among those it reads
        read = {name: host_array(array).copy() for name, array in inputs.items()}
        everything = all_outputs(self.signature, check_tensors(self.name, self.signature, inputs, outputs)) | {
            name: host_array(array) for name, array in outputs.items()
        }
        self._engine.run(inputs, everything)
        self._calls.append(RecordedCall(read, {name: array.copy() for name, array in everything.items()}))


def all_outputs(signature: GraphSignature, sizes: Mapping[str, int]) -> dict[str, HostArray]:
    """Room for every output of a graph, given the sizes of its varying dimensions."""
    return {
        tensor.name: np.empty([sizes[n] if isinstance(n, str) else n for n in tensor.shape], tensor.dtype)
        for tensor in signature.outputs
    }
