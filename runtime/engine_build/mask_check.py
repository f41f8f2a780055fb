"""The last word on a build: the masks of a whole clip from its engines, against ONNX Runtime's in float32."""

import json
from dataclasses import dataclass

import numpy as np

from glus_edge.runtime.device.cuda_api import Cuda
from glus_edge.runtime.engine_build.accuracy_gate import mask_iou
from glus_edge.runtime.engine_build.builder import ALL_GRAPHS, AccuracyGate, EngineBuild, key_of
from glus_edge.runtime.engine_build.float32_reference import run_clip
from glus_edge.runtime.errors import EngineError
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.tensorrt.engine import TensorRtBackend, TensorRtOptions
from glus_edge.runtime.tensorrt.store import FOLDER, EngineRecord, EngineStore
from glus_edge.runtime.utils.atomic_file import write_file
from glus_edge.runtime.utils.schema import record_json
from glus_edge.runtime.video.video import Video

REPORT = "report.json"


@dataclass(frozen=True)
class BuildReport:
    """engines/report.json: what a build came to."""

    library: str
    library_version: str
    gpu: str
    mask_iou: float  # of the clip's masks against ONNX Runtime in float32
    frames: int  # that were compared: those before the engines first chose another of the decoder's masks
    clip_frames: int
    engines: tuple[EngineRecord, ...]  # with every precision tried


def check_masks(build: EngineBuild, cuda: Cuda, gate: AccuracyGate, video: Video, sentences: list[str]) -> BuildReport:
    """Runs the clip on the engines just built and writes the report.

    EngineError: the masks miss the gate; the engines are deleted, so that nothing wrong is ever used.
    """
    store = EngineStore(build.bundle.directory)
    keys = {graph: key_of(build, graph, cuda.gpu.label) for graph in ALL_GRAPHS}
    backend = TensorRtBackend(build.bundle, build.tensorrt, cuda, TensorRtOptions(build.tensorrt.library))
    with Segmenter(build.bundle, backend, backend.open_pixels()) as segmenter:
        clip, reference = run_clip(segmenter, video, sentences), gate.recording.clip
    # The stability rule chooses between masks at a threshold: where a score lies on it, rounding decides, for ONNX
    # Runtime as much as for an engine, and all that follows is another run.
    differs = np.flatnonzero((clip.selected != reference.selected).any(axis=1))
    frames = int(differs[0]) if len(differs) else len(clip.masks)
    iou = mask_iou(clip.masks[:frames], reference.masks[:frames]) if 2 * frames >= len(clip.masks) else 0.0
    if not iou >= gate.settings.mask_iou:
        for key in keys.values():
            store.remove(key)
        raise EngineError(
            f"{build.bundle.directory}: masks of the engines have IoU {iou:.4f} with ONNX Runtime's in float32 on {frames} "
            f"of {len(clip.masks)} frames, expected at least {gate.settings.mask_iou}; the engines were deleted: export "
            "with --precision fp32, or use --backend onnxruntime"
        )
    records = tuple(record for _, record in store.records() if record.key in keys.values())
    report = BuildReport(
        build.tensorrt.library, build.tensorrt.version, cuda.gpu.label, iou, frames, len(clip.masks), records
    )
    text = json.dumps(record_json(report), indent=1, allow_nan=False) + "\n"
    write_file(build.bundle.directory / FOLDER / REPORT, text.encode())
    return report
