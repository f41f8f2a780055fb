"""What the annotations of a manifest cannot say."""

import math
from pathlib import Path, PurePosixPath

from glus_edge.runtime.bundle.manifest import Manifest, PromptSettings, files
from glus_edge.runtime.bundle.signatures import GRAPHS
from glus_edge.runtime.errors import BundleError

_LONGEST_NAME = 100  # characters of a file's name
_LONGEST_PROMPT = 20_000  # characters of a piece of the prompt
_MAY_BE_NONE = ("context_frames", "slots")  # a model that was trained without them
_LARGEST_SIZE = 1 << 24
# What is allocated or looped over that many times; each is far beyond every model there is.
_LARGEST = {
    "language_layers": 1 << 10,
    "context_frames": 1 << 7,
    "query_frames": 1 << 7,
    "slots": 1 << 8,
    "max_positions": 1 << 20,
    "clip_size": 1 << 13,
    "image_size": 1 << 13,
    "image_tokens": 1 << 14,
}
_IMAGE, _EXPRESSION = "<image>", "{expression}"


def check_manifest(path: Path, manifest: Manifest) -> None:
    """The six graphs, plain file names, sizes that fit together, prompts with a place for everything. BundleError."""
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
        least, most = 0 if key in _MAY_BE_NONE else 1, _LARGEST.get(key, _LARGEST_SIZE)
        if not least <= value <= most:
            raise BundleError(f"{path}: {key}: got {value}, expected {least} to {most}; export the bundle again")
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
    _check_prompt(path, manifest.prompt)
    for name, token in (("segment", manifest.prompt.segment_token_id), ("begin", manifest.prompt.begin_token_id)):
        if not 0 <= token < model.vocabulary_size:
            raise BundleError(
                f"{path}: prompt.{name}_token_id: got {token}, expected 0 to {model.vocabulary_size - 1}; export again"
            )
    if model.image_size % 16:
        raise BundleError(f"{path}: image_size: got {model.image_size}, expected a multiple of 16; export again")


def _check_prompt(path: Path, prompt: PromptSettings) -> None:
    """Each piece is text of a length that can be asked with, and has the placeholders that belong there."""
    for key, piece in vars(prompt).items():
        for text in piece if isinstance(piece, tuple) else (piece,):
            if not isinstance(text, str):
                continue
            if len(text) > _LONGEST_PROMPT:
                raise BundleError(
                    f"{path}: prompt.{key}: got {len(text)} characters, expected at most {_LONGEST_PROMPT}; export again"
                )
            if any(0xD800 <= ord(letter) <= 0xDFFF for letter in text):
                raise BundleError(f"{path}: prompt.{key}: got an unpaired surrogate, expected Unicode; export again")
            wanted = {"image": 1}.get(key, 0)
            if key != "reserved" and text.count(_IMAGE) != wanted:
                expected = "in it once" if wanted else "nowhere in it"
                raise BundleError(
                    f"{path}: prompt.{key}: got {text[:60]!r}, expected {_IMAGE} {expected}; export the bundle again"
                )
    if _EXPRESSION not in prompt.question:
        raise BundleError(
            f"{path}: prompt.question: got {prompt.question[:60]!r}, expected {_EXPRESSION} in it; export the bundle again"
        )
