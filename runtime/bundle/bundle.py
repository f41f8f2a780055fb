"""Opens a bundle: reads manifest.json, checks every file's SHA-256, gives the tokenizer and the embedding table."""

import hashlib
import json
import math
from pathlib import Path, PurePosixPath

from tokenizers import Tokenizer

from glus_edge.runtime.bundle.external_data import external_files
from glus_edge.runtime.bundle.manifest import FORMAT_VERSION, FileEntry, Manifest
from glus_edge.runtime.bundle.signatures import GRAPHS, GraphSignature, Limits, signatures
from glus_edge.runtime.bundle.token_embedding import TokenEmbedding
from glus_edge.runtime.errors import BundleError
from glus_edge.runtime.utils.schema import SchemaError, from_json

_CHUNK = 1 << 20
_LONGEST_NAME = 100  # characters of a file's name
_MAY_BE_NONE = ("context_frames", "slots")  # a model that was trained without them


class Bundle:
    """A directory made by `glus-edge export`. Immutable; opening reads and verifies, nothing is run."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory = directory
        self.manifest = manifest

    @classmethod
    def open(cls, directory: str | Path) -> "Bundle":
        """Reads the manifest and verifies every file it names. BundleError: missing, newer, or damaged."""
        directory = Path(directory)
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
        """The checkpoint's tokenizer."""
        path = self.directory / self.manifest.tokenizer.file
        try:
            tokenizer: Tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception for whatever is wrong with the file
            raise BundleError(f"{path}: got {error}, expected a tokenizer.json; export the bundle again") from error
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
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise BundleError(
            f"{directory}: got no manifest.json, expected a bundle; make one with `glus-edge export`"
        ) from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}), expected a bundle's manifest") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: got {error}, expected JSON; export the bundle again") from error
    version = document.get("format_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise BundleError(f"{path}: got bundle format {version}, expected {FORMAT_VERSION} or older; upgrade glus-edge")
    try:
        manifest = from_json(Manifest, document)
    except SchemaError as error:
        raise BundleError(f"{path}: {error}; export the bundle again") from error
    _check(path, manifest)
    return manifest


def files(manifest: Manifest) -> list[FileEntry]:
    """Every file the manifest names."""
    entries = [manifest.tokenizer, manifest.token_embedding]
    entries += [] if manifest.recipe is None else [manifest.recipe]
    for graph in manifest.graphs.values():
        entries += [graph.graph] if graph.data is None else [graph.graph, graph.data]
    return entries


def verify(directory: Path, manifest: Manifest) -> None:
    """Raises BundleError unless every file is as the manifest says, and no graph names a file which it does not."""
    for entry in files(manifest):
        verify_file(directory, entry)
    for name, graph in manifest.graphs.items():
        path, known = directory / graph.graph.file, set() if graph.data is None else {graph.data.file}
        try:
            unknown = external_files(path) - known
        except OSError as error:
            raise BundleError(f"{path}: cannot be read ({error.strerror}), expected an ONNX graph") from error
        except ValueError as error:
            raise BundleError(f"{path}: got no ONNX graph ({error}); export the bundle again") from error
        if unknown:
            raise BundleError(
                f"{path}: keeps weights in {min(unknown)[:60]!r}, expected the manifest's graphs.{name}.data to name that "
                "file; export the bundle again"
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


def _check(path: Path, manifest: Manifest) -> None:
    """What annotations cannot say: the six graphs, plain file names, sizes that fit together."""
    if manifest.format_version < 1:
        raise BundleError(f"{path}: got bundle format {manifest.format_version}, expected 1; export the bundle again")
    if set(manifest.graphs) != set(GRAPHS):
        raise BundleError(f"{path}: got graphs {sorted(manifest.graphs)}, expected {sorted(GRAPHS)}; export again")
    for entry in files(manifest):
        plain = entry.file == PurePosixPath(entry.file).name and entry.file not in ("", "..", ".")
        if not plain or "\\" in entry.file or "\0" in entry.file or len(entry.file) > _LONGEST_NAME:
            raise BundleError(f"{path}: got file name {entry.file[:60]!r}, expected a plain name inside the bundle")
    for name, graph in manifest.graphs.items():
        if graph.compute not in ("float32", "float16"):
            raise BundleError(f"{path}: graphs.{name}.compute: got {graph.compute!r}, expected float32 or float16")
    model, window, memory = manifest.model, manifest.window, manifest.memory
    sizes = {**vars(model), **vars(window), **vars(memory)}
    for key, value in sizes.items():
        if isinstance(value, bool):
            continue
        if value < (0 if key in _MAY_BE_NONE else 1) or value > 1 << 24:
            raise BundleError(f"{path}: {key}: got {value}, expected a positive size; export the bundle again")
    if model.language_width % model.language_heads or model.language_heads % model.key_value_heads:
        raise BundleError(
            f"{path}: got width {model.language_width}, {model.language_heads} and {model.key_value_heads} heads, "
            "expected each to divide the one before; export the bundle again"
        )
    for name, image, size in (("clip", manifest.clip, model.clip_size), ("sam", manifest.sam, model.image_size)):
        if image.size != size:
            raise BundleError(f"{path}: {name}.size: got {image.size}, expected {size}, the model's; export again")
        if not all(map(math.isfinite, image.mean)) or not all(0 < value < math.inf for value in image.std):
            raise BundleError(f"{path}: {name}: got mean {image.mean}, std {image.std}, expected numbers, std above 0")
    prompt = manifest.prompt
    if prompt.image.count("<image>") != 1:
        raise BundleError(f"{path}: prompt.image: got {prompt.image[:60]!r}, expected <image> in it once; export again")
    for name, token in (("segment", prompt.segment_token_id), ("begin", prompt.begin_token_id)):
        if not 0 <= token < model.vocabulary_size:
            raise BundleError(
                f"{path}: prompt.{name}_token_id: got {token}, expected 0 to {model.vocabulary_size - 1}; export again"
            )
    if model.image_size % 16:
        raise BundleError(f"{path}: image_size: got {model.image_size}, expected a multiple of 16; export again")
