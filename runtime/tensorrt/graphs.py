"""The graphs that engines are compiled from: those of the bundle as they are, the language model's with packed caches,
and the two that make pixels.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import GraphSignature, Limits
from glus_edge.runtime.errors import BundleError
from glus_edge.runtime.onnx_rewrite import packed_caches
from glus_edge.runtime.onnx_rewrite.packed_caches import model_with_packed_caches, new_token_sizes, packed_signature
from glus_edge.runtime.onnx_rewrite.temporary_graph import temporary_graph
from glus_edge.runtime.pixels.preprocess_graph import PREPROCESS_GRAPHS, graph_signature, preprocess_graph

LANGUAGE_MODEL = "language_model"


def engine_signature(bundle: Bundle, graph: str, limits: Limits | None = None) -> GraphSignature:
    """The tensors of a graph's engine."""
    limits = limits or Limits()
    signature = graph_signature(bundle, graph, limits)
    return packed_signature(signature, new_token_sizes(limits.new_tokens)) if graph == LANGUAGE_MODEL else signature


@contextmanager
def engine_graph(bundle: Bundle, graph: str) -> Iterator[Path]:
    """The ONNX file an engine is compiled from; one that is made here is there for the moment.

    BundleError: the language model is not one that export writes.
    """
    if graph in PREPROCESS_GRAPHS:
        content = preprocess_graph(graph, graph_signature(bundle, graph))
    elif graph == LANGUAGE_MODEL:
        path = bundle.graph_path(graph)
        try:
            content = model_with_packed_caches(path.read_bytes(), engine_signature(bundle, graph))
        except ValueError as error:
            raise BundleError(f"{path}: {error}") from error
    else:
        yield bundle.graph_path(graph)
        return
    folder = bundle.directory if graph in PREPROCESS_GRAPHS else bundle.graph_path(graph).parent
    with temporary_graph(content, folder, graph) as path:
        yield path


def engine_graph_sha256(bundle: Bundle, graph: str) -> str:
    """What tells the graph of one engine from that of another."""
    if graph in PREPROCESS_GRAPHS:
        return hashlib.sha256(preprocess_graph(graph, graph_signature(bundle, graph))).hexdigest()
    digest = bundle.manifest.graphs[graph].graph.sha256
    if graph != LANGUAGE_MODEL:
        return digest
    # without making the graph: engines are looked for at every start
    sizes = new_token_sizes(Limits().new_tokens)
    return hashlib.sha256(f"{digest} packed caches {packed_caches.VERSION} {sizes}".encode()).hexdigest()
