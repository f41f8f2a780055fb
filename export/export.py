"""A checkpoint becomes a bundle: six graphs, tokenizer, embedding table and manifest, compared with torch and checked."""

import gc
import json
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.export.checkpoint.vision_tower import VisionTower
from glus_edge.export.language.graph import write_language_model
from glus_edge.export.language.token_embedding import write_token_embedding
from glus_edge.export.options import ExportOptions
from glus_edge.export.parity.comparison import measure_parity
from glus_edge.export.parity.float16_range import LARGEST, LayerPeaks
from glus_edge.export.parity.language import (
    LanguageAnswers,
    LanguageQuestions,
    measure_language_parity,
    reference_answers,
)
from glus_edge.export.parity.language_reference import LanguageReference
from glus_edge.export.parity.portability import ALL, RUNTIME, portability_findings
from glus_edge.export.parity.sample_frames import sample_frames
from glus_edge.export.parity.stored_weights import StoredWeights
from glus_edge.export.parity.vision import FRAMES, vision_cases
from glus_edge.export.provenance import provenance
from glus_edge.export.staging import resumable_folder
from glus_edge.export.tokenizer.tokenizer import write_tokenizer
from glus_edge.export.vision.layers import in_dtype
from glus_edge.export.vision.modules import TorchModules, load_modules
from glus_edge.export.vision.packed_weights import pack_weights, round_weights
from glus_edge.export.vision.trace import TORCH_TYPES, write_graph
from glus_edge.runtime.bundle.bundle import sha256
from glus_edge.runtime.bundle.manifest import (
    FORMAT_VERSION,
    FileEntry,
    GraphEntry,
    Manifest,
    MemorySettings,
    ParityEntry,
    PromptSettings,
    WindowSettings,
)
from glus_edge.runtime.bundle.signatures import GRAPHS, signatures
from glus_edge.runtime.bundle.token_embedding import TokenEmbedding
from glus_edge.runtime.errors import CheckpointError
from glus_edge.runtime.pixels.preprocess import clip_pixels
from glus_edge.runtime.utils.process_memory import return_freed_memory
from glus_edge.runtime.utils.schema import to_json
from glus_edge.runtime.video.frame import Frame

QUANTISED = ("int8", "int4")

Report = Callable[[str], None]  # one line about what is done now


def export_bundle(options: ExportOptions, report: Report, frames: Sequence[Frame] | None = None) -> Manifest:
    """Writes the bundle `options.output`, whole or not at all, and returns its manifest.

    `frames`: what graphs are compared on; made up where none are given. Raises CheckpointError, ParityError, InputError
    or OutputError.
    """
    with resumable_folder(options.output, options.overwrite, _resume_key(options)) as folder:
        report(f"reading {options.checkpoint}")
        checkpoint = Checkpoint.open(options.checkpoint)
        tower = VisionTower.open(options.vision_tower_folder(checkpoint.config.vision_tower))
        modules = load_modules(checkpoint, tower, options.sam2_config, options.reference_gamma)
        export = _Export(options, checkpoint, modules, folder, report)
        manifest = export.manifest(frames or sample_frames(FRAMES), tower.weights.folder.resolve().name)
        (folder / "manifest.json").write_text(json.dumps(to_json(manifest), indent=2) + "\n", encoding="utf-8")
    return manifest


def _collect() -> None:
    """Frees what tracing and sessions leave in reference cycles: 1.2 GiB behind CLIP ViT-L."""
    gc.collect()
    return_freed_memory()


def _resume_key(options: ExportOptions) -> str:
    """What the parts of an unfinished bundle follow from: the options, and the checkpoint's files as they are now."""
    files = sorted(path for path in options.checkpoint.glob("*") if path.is_file())
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    settings = {name: str(value) for name, value in vars(options).items() if name not in ("output", "overwrite")}
    return json.dumps({"checkpoint": stats, "options": settings, "version": version("glus-edge")}, sort_keys=True)


class _Export:
    """The steps of one export, each writing into `folder`."""

    def __init__(
        self, options: ExportOptions, checkpoint: Checkpoint, modules: TorchModules, folder: Path, report: Report
    ) -> None:
        self.options, self.checkpoint, self.modules, self.folder = options, checkpoint, modules, folder
        self.report = report
        self.signatures = signatures(modules.dimensions, options.compute)
        self.notes: dict[str, str] = {}

    def manifest(self, frames: Sequence[Frame], tower_name: str) -> Manifest:
        """Writes every file but the manifest itself."""
        prompt = write_tokenizer(self.options.checkpoint, self.folder / "tokenizer.json")
        self._check_vocabulary()
        if self.modules.dimensions.scores_frames and prompt.score_token not in prompt.reserved:
            raise CheckpointError(
                f"{self.options.checkpoint}: has a head for {prompt.score_token} and no such token, expected both or none; "
                "use the tokenizer files saved with the checkpoint"
            )
        write_token_embedding(self.checkpoint, self.folder / "token_embedding.npy", self.options.table)
        self._write_vision_graphs()
        self._write_language_model()
        parity = self._parity(prompt, frames)
        return Manifest(
            format_version=FORMAT_VERSION,
            name=self.options.checkpoint.resolve().name,
            model=self.modules.dimensions,
            prompt=prompt,
            clip=self.modules.clip_image,
            sam=self.modules.sam_image,
            graphs={name: self._graph_entry(name, parity[name]) for name in GRAPHS},
            tokenizer=self._file("tokenizer.json"),
            token_embedding=self._file("token_embedding.npy"),
            window=WindowSettings(context_frames=self.options.context_frames),
            memory=MemorySettings(slots=self.options.memory_slots),
            provenance=provenance(self.options, tower_name) | self.notes,
        )

    def _check_vocabulary(self) -> None:
        """Every token has a row of the embedding table; the table may have more, as those that were padded do."""
        tokens = Tokenizer.from_file(str(self.folder / "tokenizer.json")).get_vocab_size()
        rows = self.modules.dimensions.vocabulary_size
        if tokens > rows:
            raise CheckpointError(
                f"{self.options.checkpoint}: got a tokenizer of {tokens} tokens and a vocab_size of {rows}, expected a row of "
                "the embedding for every token; use the tokenizer files saved with the checkpoint"
            )

    def _write_vision_graphs(self) -> None:
        for name, module in self.modules.graphs().items():
            self.report(f"tracing {name}")
            path = self.folder / f"{name}.onnx"
            if self.options.vision_weights == "int8":
                round_weights(module)
            write_graph(name, in_dtype(module, TORCH_TYPES[self.options.compute]), self.signatures[name], path)
            if self.options.vision_weights == "int8":
                pack_weights(path)
            self._check_portability(path)
            _collect()

    def _write_language_model(self) -> None:
        path = self.folder / "language_model.onnx"

        def progress(done: int, layers: int) -> None:
            self.report(f"writing language_model, layer {done} of {layers}")

        write_language_model(
            self.checkpoint, self.modules.dimensions, path, self.options.compute, self.options.weights, progress
        )
        self._check_portability(path)

    def _check_portability(self, path: Path) -> None:
        findings = portability_findings(path)
        for finding in findings:
            if finding.rule == "finite-constants":
                raise CheckpointError(f"{path.stem}: {finding}; export with --precision fp32")
            self.report(f"warning: {path.stem}: {finding}")
        self.notes[f"portability_of_{path.stem}"] = (
            "; ".join(map(str, findings)) or f"no finding for {', '.join((*ALL, *RUNTIME))}"
        )

    def _parity(self, prompt: PromptSettings, frames: Sequence[Frame]) -> dict[str, tuple[ParityEntry, ...]]:
        self.report("running language_model in torch")
        questions = self._questions(prompt, frames)
        stored, peaks = StoredWeights(self.checkpoint, self.options.weights, self.options.compute), LayerPeaks()
        half = self.options.compute == "float16"
        observe = partial(peaks.record, "language_model") if half else None
        answers = reference_answers(LanguageReference(stored, self.modules.dimensions, observe), questions)
        if self.options.weights in QUANTISED:
            self._note_quantisation(questions, answers[0])
        self.report("comparing language_model with torch")
        path, signature = self.folder / "language_model.onnx", self.signatures["language_model"]
        parity = {"language_model": measure_language_parity(path, signature, self.options.compute, questions, answers)}
        self.report("running the other graphs in torch")
        with peaks.recording(self.modules.graphs() if half else {}):
            cases = vision_cases(self.modules, frames, answers[-1].segment_embedding)
        self._note_overflows(peaks)
        self.modules.release()
        for name in self.modules.graphs():
            self.report(f"comparing {name} with torch")
            path = self.folder / f"{name}.onnx"
            _collect()
            parity[name] = measure_parity(name, path, self.signatures[name], self.options.compute, cases.pop(name))
        return parity

    def _note_overflows(self, peaks: LayerPeaks) -> None:
        """Reported, and no error: `glus-edge build` finds out on the device which blocks to raise."""
        for name, peak in peaks.beyond().items():
            text = f"{peak.layer} reaches {peak.value:.1e} on the frames compared, beyond float16's {LARGEST:.0f}"
            self.report(f"warning: {name}: {text}: a GPU may give no numbers there; export with --precision fp32")
            self.notes[f"overflow_of_{name}"] = text

    def _questions(self, prompt: PromptSettings, frames: Sequence[Frame]) -> LanguageQuestions:
        pixels = np.stack([clip_pixels(frame.rgb, self.modules.clip_image) for frame in frames])
        with torch.inference_mode():
            tokens = self.modules.clip_encoder(torch.from_numpy(pixels)).numpy()
        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        model = self.modules.dimensions
        embedding = TokenEmbedding.open(
            self.folder / "token_embedding.npy", model.vocabulary_size, model.language_width
        )
        return LanguageQuestions(model, prompt, tokenizer, embedding, tokens, self.options.context_frames)

    def _note_quantisation(self, questions: LanguageQuestions, quantised: LanguageAnswers) -> None:
        """What the storage itself costs, apart from the graph: reported, with no tolerance."""
        (whole,) = reference_answers(LanguageReference(self.checkpoint, self.modules.dimensions), questions, steps=1)
        distance = np.linalg.norm(quantised.segment_embedding - whole.segment_embedding)
        relative = float(distance / np.linalg.norm(whole.segment_embedding))
        self.notes["language_weights_loss"] = f"segment_embedding {relative:.1e} (relative L2) from unquantised weights"

    def _graph_entry(self, name: str, parity: tuple[ParityEntry, ...]) -> GraphEntry:
        is_language = name == "language_model"
        return GraphEntry(
            graph=self._file(f"{name}.onnx"),
            compute=self.options.compute,
            weights=self.options.weights if is_language else self.options.vision_weights or self.options.precision,
            data=self._file(f"{name}.onnx.data") if is_language else None,
            parity=parity,
        )

    def _file(self, name: str) -> FileEntry:
        path = self.folder / name
        return FileEntry(name, sha256(path), path.stat().st_size)
