"""A bundle of any size with random weights, whole but for its graphs: what the loop needs beside engines."""

from pathlib import Path

import numpy as np

from glus_edge.export.synthetic.sizes import ADDED_TOKENS, SyntheticSize
from glus_edge.export.synthetic.tokenizer import write_synthetic_tokenizer
from glus_edge.export.synthetic.weights import CONSTANT
from glus_edge.export.tokenizer.tokenizer import write_tokenizer
from glus_edge.export.vision.dimensions import model_dimensions
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.manifest import FORMAT_VERSION, FileEntry, GraphEntry, ImageSettings, Manifest
from glus_edge.runtime.bundle.signatures import GRAPHS
from glus_edge.runtime.pixels.normalization import CLIP_MEAN, CLIP_STD, SAM_MEAN, SAM_STD

COMPUTE = "float16"  # of the graphs


def random_bundle(size: SyntheticSize, folder: Path, weights: str = "int4") -> Bundle:
    """Writes tokenizer and embeddings to `folder`; the graphs its manifest names are for others to write.

    `weights`: of the language model's matrices, 'int4', 'int8' or 'fp16'.
    Nothing is hashed: such a bundle is used by the process that made it, and cannot be opened by another.
    """
    language, vision = size.language, size.vision
    dimensions = model_dimensions(vision, language, size.sam2_sizes())
    write_synthetic_tokenizer(folder, language.vocabulary_size - len(ADDED_TOKENS), ADDED_TOKENS)
    prompt = write_tokenizer(folder, folder / "tokenizer.json")
    random = np.random.default_rng(0)
    table = random.standard_normal((language.vocabulary_size, language.hidden_size), np.float32).astype(COMPUTE)
    table[:, 0] = CONSTANT  # which is what makes [SEG] win
    np.save(folder / "token_embedding.npy", table)
    return Bundle(
        folder,
        Manifest(
            format_version=FORMAT_VERSION,
            name="random weights",
            model=dimensions,
            prompt=prompt,
            clip=ImageSettings(vision.image_size, CLIP_MEAN, CLIP_STD),
            sam=ImageSettings(dimensions.image_size, SAM_MEAN, SAM_STD),
            graphs={graph: _graph(graph, weights) for graph in GRAPHS},
            tokenizer=_file("tokenizer.json"),
            token_embedding=_file("token_embedding.npy"),
        ),
    )


def _graph(name: str, weights: str) -> GraphEntry:
    if name != "language_model":
        return GraphEntry(_file(f"{name}.onnx"), COMPUTE, "fp16")
    return GraphEntry(_file(f"{name}.onnx"), COMPUTE, weights, _file(f"{name}.onnx.data"))


def _file(name: str) -> FileEntry:
    return FileEntry(name, "", 0)
