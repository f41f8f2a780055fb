"""`glus-edge inspect BUNDLE`: what a bundle says of itself, for people and (`--json`) for programs."""

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from glus_edge.runtime.bundle.bundle import read_manifest, verify
from glus_edge.runtime.bundle.manifest import GraphEntry, Manifest, files
from glus_edge.runtime.bundle.signatures import TensorSignature, signatures
from glus_edge.runtime.commands.arguments import bundle_from_arguments
from glus_edge.runtime.errors import BundleError
from glus_edge.runtime.utils.schema import to_json
from glus_edge.runtime.utils.text import printable


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "bundle",
        metavar="BUNDLE",
        type=Path,
        nargs="?",
        help="a folder made by `glus-edge export` (default: the small GLUS that ships)",
    )
    parser.add_argument("--json", action="store_true", help="print the manifest as JSON")
    parser.add_argument("--tensors", action="store_true", help="also print every graph's inputs and outputs")
    parser.add_argument("--verify", action="store_true", help="also check the size and SHA-256 of every file")


def run(arguments: argparse.Namespace) -> int:
    """Prints the manifest. Errors: BundleError for what is no bundle or, with --verify, is damaged."""
    directory = bundle_from_arguments(arguments)
    manifest = read_manifest(directory)
    missing = [entry.file for entry in files(manifest) if not (directory / entry.file).is_file()]
    if missing:
        raise BundleError(
            f"{directory}: got no {', '.join(missing)}, expected every file manifest.json names; "
            "copy or export the bundle again"
        )
    if arguments.verify:
        verify(directory, manifest)
    if arguments.json:
        print(json.dumps(to_json(manifest), indent=2, ensure_ascii=False))
        return 0
    for line in describe(directory, manifest, arguments.tensors):
        print(printable(line))
    if arguments.verify:
        print("\nEvery file has the size and SHA-256 the manifest says.")
    return 0


def describe(directory: Path, manifest: Manifest, tensors: bool = False) -> Iterator[str]:
    """The manifest as lines of text; `tensors`: with every graph's inputs and outputs."""
    model = manifest.model
    total = sum(entry.size_bytes for entry in files(manifest))
    yield f"{manifest.name}  ({directory}, {_megabytes(total)}, bundle format {manifest.format_version})"
    yield ""
    yield from _table(
        [
            (
                "language model",
                f"{model.language_layers} layers, width {model.language_width}, {model.language_heads} heads "
                f"({model.key_value_heads} of keys and values), vocabulary {model.vocabulary_size}, "
                f"at most {model.max_positions} positions",
            ),
            ("CLIP", f"{model.clip_size} x {model.clip_size} pixels, {model.image_tokens} tokens an image"),
            (
                "SAM 2",
                f"{model.image_size} x {model.image_size} pixels, width {model.segment_width}, "
                f"memory {model.memory_width} x {model.grid} x {model.grid} a slot",
            ),
            (
                "frames",
                f"{manifest.window.context_frames} of context, {manifest.window.query_frames} of the query window",
            ),
            ("memory bank", f"{manifest.memory.slots} slots, stride {manifest.memory.stride}"),
            *sorted(manifest.provenance.items()),
        ]
    )
    yield ""
    rows = [("graph", "activations", "weights", "size", "worst parity (relative L2, of tolerance)")]
    rows += [
        (name, graph.compute, graph.weights, _size(graph), _parity(graph)) for name, graph in manifest.graphs.items()
    ]
    yield from _table(rows)
    if tensors:
        for name, graph in manifest.graphs.items():
            yield ""
            signature = signatures(model, graph.compute)[name]
            inputs, outputs = _tensor_rows("in", signature.inputs), _tensor_rows("out", signature.outputs)
            yield from _table([(name, "tensor", "dtype", "shape"), *inputs, *outputs])
            axes = ", ".join(f"{axis} {it.minimum}..{it.maximum}" for axis, it in signature.axes.items())
            if axes:
                yield f"where {axes}"


def _tensor_rows(kind: str, tensors: Iterable[TensorSignature]) -> Iterator[tuple[str, ...]]:
    for tensor in tensors:
        yield kind, tensor.name, tensor.dtype, " x ".join(map(str, tensor.shape))


def _parity(graph: GraphEntry) -> str:
    if not graph.parity:
        return "not measured"
    worst = max(graph.parity, key=lambda entry: entry.relative_l2 / max(entry.tolerance, 1e-30))
    return f"{worst.output} {worst.relative_l2:.1e} of {worst.tolerance:.0e}"


def _size(graph: GraphEntry) -> str:
    return _megabytes(graph.graph.size_bytes + (graph.data.size_bytes if graph.data else 0))


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of as many columns, each as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
