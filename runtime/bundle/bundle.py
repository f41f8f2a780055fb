"""Opens a bundle: reads manifest.json, checks every file's SHA-256, gives the tokenizer and the embedding table."""

import hashlib
import os
from pathlib import Path

from tokenizers import Tokenizer

from glus_edge.runtime.bundle.control_flow import control_flow
from glus_edge.runtime.bundle.external_data import external_files
from glus_edge.runtime.bundle.manifest import FORMAT_VERSION, FileEntry, Manifest, files
from glus_edge.runtime.bundle.manifest_check import check_manifest
from glus_edge.runtime.bundle.signatures import GraphSignature, Limits, signatures
from glus_edge.runtime.bundle.token_embedding import TokenEmbedding
from glus_edge.runtime.bundle.tokenizer_check import check_tokenizer
from glus_edge.runtime.errors import BundleError
from glus_edge.runtime.utils.regular_file import read_regular
from glus_edge.runtime.utils.schema import SchemaError, from_json, json_document

_CHUNK = 1 << 20
_LARGEST_TOKENIZER = 256 << 20  # bytes


class Bundle:
    """A directory made by `glus-edge export`. Immutable; opening reads and verifies, nothing is run."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory = directory
        self.manifest = manifest

    @classmethod
    def open(cls, directory: str | Path) -> "Bundle":
        """Reads the manifest and verifies every file it names. BundleError: missing, newer, or damaged."""
        directory = Path(directory)
        if os.fsencode(directory).decode("utf-8", "replace") != str(directory):
            raise BundleError(f"{directory}: got a name that is no UTF-8, which no engine can open; rename the folder")
        manifest = read_manifest(directory)
        verify(directory, manifest)
        return cls(directory, manifest)

    def graph_path(self, graph: str) -> Path:
        """Path of a graph's ONNX file."""
        return self.directory / self.manifest.graphs[graph].graph.file

    def signature(self, graph: str, limits: Limits | None = None) -> GraphSignature:
        """The tensors of a graph, its compute dtype filled in."""
        return signatures(self.manifest.model, self.manifest.graphs[graph].compute, limits)[graph]

    def tokenizer(self) -> Tokenizer:
        """The checkpoint's tokenizer. BundleError: it is none, or gives token ids that the embedding has no row for."""
        path = self.directory / self.manifest.tokenizer.file
        try:
            content = read_regular(path, _LARGEST_TOKENIZER)
            check_tokenizer(content)
            tokenizer: Tokenizer = Tokenizer.from_buffer(content)
        except SchemaError as error:
            raise BundleError(f"{path}: {error}; export the bundle again") from error
        except OSError as error:
            raise BundleError(f"{path}: cannot be read ({error.strerror}), expected a tokenizer.json") from error
        except Exception as error:  # tokenizers raises bare Exception for whatever is wrong with the file
            raise BundleError(f"{path}: got {error}, expected a tokenizer.json; export the bundle again") from error
        last, rows = max(tokenizer.get_vocab().values(), default=-1), self.manifest.model.vocabulary_size
        if not 0 <= last < rows:
            raise BundleError(f"{path}: got token ids up to {last}, expected 0 to {rows - 1}; export the bundle again")
        if tokenizer.padding is not None or tokenizer.truncation is not None:
            raise BundleError(f"{path}: got padding or truncation, expected neither; export the bundle again")
        return tokenizer

    def token_embedding(self) -> TokenEmbedding:
        """The embedding table, memory-mapped."""
        model = self.manifest.model
        path = self.directory / self.manifest.token_embedding.file
        return TokenEmbedding.open(path, model.vocabulary_size, model.language_width)


def read_manifest(directory: Path) -> Manifest:
    """manifest.json of a bundle, checked value by value."""
    path = directory / "manifest.json"
    try:
        document = json_document(read_regular(path))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise BundleError(
            f"{directory}: got no manifest.json, expected a bundle; make one with `glus-edge export`"
        ) from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}), expected a bundle's manifest") from error
    except SchemaError as error:
        raise BundleError(f"{path}: {error}, expected a bundle's manifest in JSON; export the bundle again") from error
    version = document.get("format_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise BundleError(f"{path}: got bundle format {version}, expected {FORMAT_VERSION} or older; upgrade glus-edge")
    try:
        manifest = from_json(Manifest, document)
    except SchemaError as error:
        raise BundleError(f"{path}: {error}; export the bundle again") from error
    check_manifest(path, manifest)
    return manifest


def verify(directory: Path, manifest: Manifest) -> None:
    """Raises BundleError unless every file is as the manifest says, no graph names a file which it does not, none loops."""
    for entry in files(manifest):
        verify_file(directory, entry)
    for name, graph in manifest.graphs.items():
        path, known = directory / graph.graph.file, set() if graph.data is None else {graph.data.file}
        try:
            unknown, refused = external_files(path) - known, control_flow(path)
        except OSError as error:
            raise BundleError(f"{path}: cannot be read ({error.strerror}), expected an ONNX graph") from error
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{path}: got no ONNX graph ({error}); export the bundle again") from error
        if unknown:
            raise BundleError(
                f"{path}: keeps weights in {min(unknown)[:60]!r}, expected the manifest's graphs.{name}.data to name that "
                "file; export the bundle again"
            )
        if refused:
            raise BundleError(
                f"{path}: got the operator {min(refused)}, which can run without end, expected none of control flow; "
                "export the bundle again"
            )


def verify_file(directory: Path, entry: FileEntry) -> None:
    """Raises BundleError unless the file is there with the size and SHA-256 the manifest says."""
    path = directory / entry.file
    try:
        if not path.is_file():
            raise BundleError(
                f"{path}: got no file, expected the one manifest.json names; copy or export the bundle again"
            )
        size = path.stat().st_size
        if size != entry.size_bytes:
            raise BundleError(f"{path}: got {size} bytes, expected {entry.size_bytes}; copy or export the bundle again")
        digest = sha256(path)
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror}), expected the file manifest.json names"
        ) from error
    if digest != entry.sha256:
        raise BundleError(
            f"{path}: got SHA-256 {digest[:16]}..., expected {entry.sha256[:16]}...; copy or export the bundle again"
        )


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
