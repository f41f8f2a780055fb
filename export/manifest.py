"""The manifest of an exported bundle, from what the phases of the export returned."""

import json
from collections.abc import Mapping
from pathlib import Path

from glus_edge.export.bundle_parity import BundleParity
from glus_edge.export.graphs import LANGUAGE_GRAPH
from glus_edge.export.options import ExportOptions
from glus_edge.export.provenance import provenance
from glus_edge.export.source_model import SourceModel
from glus_edge.runtime.bundle.bundle import sha256
from glus_edge.runtime.bundle.manifest import (
    FORMAT_VERSION,
    FileEntry,
    GraphEntry,
    Manifest,
    MemorySettings,
    PromptSettings,
    WindowSettings,
)
from glus_edge.runtime.bundle.signatures import GRAPHS
from glus_edge.runtime.utils.schema import to_json


def write_manifest(
    model: SourceModel,
    prompt: PromptSettings,
    portability: Mapping[str, str],
    parity: BundleParity,
    options: ExportOptions,
    folder: Path,
) -> Manifest:
    """Write manifest.json over the files of `folder`, which are hashed. `portability`: what was found, by graph."""

    def file(name: str) -> FileEntry:
        return FileEntry(name, sha256(folder / name), (folder / name).stat().st_size)

    def graph(name: str) -> GraphEntry:
        is_language = name == LANGUAGE_GRAPH
        return GraphEntry(
            graph=file(f"{name}.onnx"),
            compute=options.compute,
            weights=options.weights if is_language else options.vision_weights or options.precision,
            data=file(f"{name}.onnx.data") if is_language else None,
            parity=parity.entries[name],
        )

    notes = {f"portability_of_{name}": text for name, text in portability.items()} | parity.notes
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name=options.checkpoint.resolve().name,
        model=model.dimensions,
        prompt=prompt,
        clip=model.modules.clip_image,
        sam=model.modules.sam_image,
        graphs={name: graph(name) for name in GRAPHS},
        tokenizer=file("tokenizer.json"),
        token_embedding=file("token_embedding.npy"),
        window=WindowSettings(context_frames=options.context_frames),
        memory=MemorySettings(slots=options.memory_slots),
        provenance=provenance(options, model.tower.weights.folder.resolve().name) | notes,
    )
    (folder / "manifest.json").write_text(json.dumps(to_json(manifest), indent=2) + "\n", encoding="utf-8")
    return manifest
