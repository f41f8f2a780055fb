"""Every graph of a bundle against the torch model it came from, and what the comparison found beside the distances."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer

from glus_edge.export.graphs import LANGUAGE_GRAPH, Report, collect_garbage
from glus_edge.export.language.weights import LanguageWeights
from glus_edge.export.options import ExportOptions
from glus_edge.export.parity.clip import check_clip
from glus_edge.export.parity.comparison import measure_parity
from glus_edge.export.parity.float16_range import LARGEST, LayerPeaks
from glus_edge.export.parity.language import (
    LanguageAnswers,
    LanguageQuestions,
    measure_language_parity,
    reference_answers,
)
from glus_edge.export.parity.language_reference import Observe
from glus_edge.export.parity.llama import LlamaReference
from glus_edge.export.parity.stored_weights import StoredWeights
from glus_edge.export.parity.vision import vision_cases
from glus_edge.export.source_model import SourceModel
from glus_edge.runtime.bundle.manifest import ParityEntry, PromptSettings
from glus_edge.runtime.bundle.token_embedding import TokenEmbedding
from glus_edge.runtime.pixels.preprocess import clip_pixels
from glus_edge.runtime.video.frame import Frame

QUANTISED = ("int8", "int4")


class BundleParity(NamedTuple):
    """How far the graphs are from torch."""

    entries: dict[str, tuple[ParityEntry, ...]]  # by graph
    notes: dict[str, str]  # entries of the manifest's provenance


def measure_bundle_parity(
    model: SourceModel,
    prompt: PromptSettings,
    options: ExportOptions,
    folder: Path,
    frames: Sequence[Frame],
    report: Report,
) -> BundleParity:
    """Compare all graphs of `folder` on the frames' own pixels. Raises ParityError where one misses its tolerance.

    The modules of `model` are released on the way: torch is run first, so that it and ONNX Runtime are never both in memory.
    """
    notes: dict[str, str] = {}
    half = options.compute == "float16"
    peaks = LayerPeaks()
    report(f"running {LANGUAGE_GRAPH} in torch")
    questions = _questions(model, prompt, options, folder, frames)
    observe = partial(peaks.record, LANGUAGE_GRAPH) if half else None
    stored = StoredWeights(model.checkpoint, options.weights, options.compute)
    answers = reference_answers(_reference(model, stored, observe), questions)
    if options.weights in QUANTISED:
        notes["language_weights_loss"] = _quantisation_loss(model, questions, answers[0])
    report(f"comparing {LANGUAGE_GRAPH} with torch")
    path, signature = folder / f"{LANGUAGE_GRAPH}.onnx", model.signatures[LANGUAGE_GRAPH]
    entries = {LANGUAGE_GRAPH: measure_language_parity(path, signature, options.compute, questions, answers)}
    report("running the other graphs in torch")
    with peaks.recording(model.modules.graphs() if half else {}):
        cases = vision_cases(model.modules, frames, answers[-1].segment_embedding)
    notes |= overflow_notes(peaks, report)
    model.modules.release()
    for name in model.modules.graphs():
        report(f"comparing {name} with torch")
        collect_garbage()
        entries[name] = measure_parity(
            name, folder / f"{name}.onnx", model.signatures[name], options.compute, cases.pop(name)
        )
    return BundleParity(entries, notes)


def _reference(model: SourceModel, weights: LanguageWeights, observe: Observe | None = None) -> LlamaReference:
    config = model.checkpoint.folder / "config.json"
    return LlamaReference(config, weights, model.dimensions.scores_frames, observe)


def _questions(
    model: SourceModel, prompt: PromptSettings, options: ExportOptions, folder: Path, frames: Sequence[Frame]
) -> LanguageQuestions:
    pixels = np.stack([clip_pixels(frame.rgb, model.modules.clip_image) for frame in frames])
    tokens = check_clip(model.modules.clip_encoder, model.tower, torch.from_numpy(pixels)).numpy()
    tokenizer = Tokenizer.from_str((folder / "tokenizer.json").read_text(encoding="utf-8"))
    sizes = model.dimensions
    embedding = TokenEmbedding.open(folder / "token_embedding.npy", sizes.vocabulary_size, sizes.language_width)
    return LanguageQuestions(sizes, prompt, tokenizer, embedding, tokens, options.context_frames)


def _quantisation_loss(model: SourceModel, questions: LanguageQuestions, quantised: LanguageAnswers) -> str:
    """What the storage itself costs, apart from the graph: reported, with no tolerance."""
    (original,) = reference_answers(_reference(model, model.checkpoint), questions, steps=1)
    distance = np.linalg.norm(quantised.segment_embedding - original.segment_embedding)
    relative = float(distance / np.linalg.norm(original.segment_embedding))
    return f"segment_embedding {relative:.1e} (relative L2) from unquantised weights"


def overflow_notes(peaks: LayerPeaks, report: Report) -> dict[str, str]:
    """Reported, and no error: `glus-edge build` finds out on the device which blocks to raise."""
    notes = {}
    for name, peak in peaks.beyond().items():
        text = f"{peak.layer} reaches {peak.value:.1e} on the frames compared, beyond float16's {LARGEST:.0f}"
        report(f"warning: {name}: {text}: a GPU may give no numbers there; export with --precision fp32")
        notes[f"overflow_of_{name}"] = text
    return notes
