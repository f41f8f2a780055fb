"""A checkpoint becomes a bundle: six graphs, tokenizer, embedding table and manifest, compared with torch and checked."""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tokenizers import Tokenizer

from glus_edge.export.bundle_parity import measure_bundle_parity
from glus_edge.export.graphs import Report, write_language_graph, write_vision_graphs
from glus_edge.export.language.token_embedding import write_token_embedding
from glus_edge.export.manifest import write_manifest
from glus_edge.export.options import ExportOptions
from glus_edge.export.parity.sample_frames import sample_frames
from glus_edge.export.parity.vision import FRAMES
from glus_edge.export.source_model import SourceModel, read_model
from glus_edge.export.staging import resumable_folder
from glus_edge.export.tokenizer.tokenizer import write_tokenizer
from glus_edge.runtime.bundle.manifest import Manifest, PromptSettings
from glus_edge.runtime.errors import CheckpointError
from glus_edge.runtime.video.frame import Frame


def export_bundle(options: ExportOptions, report: Report, frames: Sequence[Frame] | None = None) -> Manifest:
    """Writes the bundle `options.output`, whole or not at all, and returns its manifest.

    `frames`: what graphs are compared on; made up where none are given. Raises CheckpointError, ParityError, InputError
    or OutputError.
    """
    with resumable_folder(options.output, options.overwrite, _resume_key(options)) as folder:
        return write_bundle(options, folder, report, frames or sample_frames(FRAMES))


def write_bundle(options: ExportOptions, folder: Path, report: Report, frames: Sequence[Frame]) -> Manifest:
    """The phases of an export, each writing its files into `folder`."""
    report(f"reading {options.checkpoint}")
    model = read_model(options)
    prompt = write_checked_tokenizer(model, folder / "tokenizer.json")
    write_token_embedding(model.checkpoint, folder / "token_embedding.npy", options.table)
    portability = write_vision_graphs(model, options, folder, report)
    portability |= write_language_graph(model, options, folder, report)
    parity = measure_bundle_parity(model, prompt, options, folder, frames, report)
    return write_manifest(model, prompt, portability, parity, options, folder)


def write_checked_tokenizer(model: SourceModel, path: Path) -> PromptSettings:
    """Write tokenizer.json; the prompt's settings. Raises CheckpointError where the tokens are not the model's.

    Every token has a row of the embedding table; the table may have more, as those that were padded do.
    """
    folder = model.checkpoint.folder
    prompt = write_tokenizer(folder, path)
    tokens, rows = (
        Tokenizer.from_str(path.read_text(encoding="utf-8")).get_vocab_size(),
        model.dimensions.vocabulary_size,
    )
    if tokens > rows:
        raise CheckpointError(
            f"{folder}: got a tokenizer of {tokens} tokens and a vocab_size of {rows}, expected a row of "
            "the embedding for every token; use the tokenizer files saved with the checkpoint"
        )
    if model.dimensions.scores_frames and prompt.score_token not in prompt.reserved:
        raise CheckpointError(
            f"{folder}: has a head for {prompt.score_token} and no such token, expected both or none; "
            "use the tokenizer files saved with the checkpoint"
        )
    return prompt


def _resume_key(options: ExportOptions) -> str:
    """What the parts of an unfinished bundle follow from: the options, and the checkpoint's files as they are now."""
    try:
        files = sorted(path for path in options.checkpoint.glob("*") if path.is_file())
        stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    except OSError as error:
        raise CheckpointError(
            f"{options.checkpoint}: cannot be read ({error.strerror}), expected the folder of a checkpoint; check its "
            "permissions"
        ) from error
    settings = {name: str(value) for name, value in vars(options).items() if name not in ("output", "overwrite")}
    return json.dumps({"checkpoint": stats, "options": settings, "version": version("glus-edge")}, sort_keys=True)
