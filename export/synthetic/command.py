"""`python -m glus_edge.export.synthetic --size glus-7b --output DIR`: a GLUS of random weights, for measurements.

DIR/checkpoint (config.json, weights, tokenizer), DIR/clip and DIR/sam2.yaml are in the official formats, so that the
export, the bundle and the run cost what the released model's do. The masks mean nothing.
"""

import argparse
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from tqdm import tqdm

from glus_edge.export.checkpoint.tensor_names import Shapes, language_shapes
from glus_edge.export.checkpoint.vision_tower import vision_shapes
from glus_edge.export.staging import new_folder
from glus_edge.export.synthetic.config import language_json, preprocessor_json, vision_json
from glus_edge.export.synthetic.sizes import ADDED_TOKENS, SIZES, SyntheticSize
from glus_edge.export.synthetic.tokenizer import write_synthetic_tokenizer
from glus_edge.export.synthetic.weights import (
    Progress,
    language_tensor,
    random_tensor,
    rotary_buffers,
    write_weights,
)
from glus_edge.export.vision.sam2_model import PREFIX, build_sam2
from glus_edge.runtime.errors import GlusEdgeError, InputError, OutputError


def main(arguments: list[str] | None = None) -> int:
    """The command; 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m glus_edge.export.synthetic", description=__doc__)
    parser.add_argument("--size", choices=list(SIZES), required=True, help="see export/synthetic_sizes.py")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        write_synthetic(options.size, options.output, options.seed)
    except GlusEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        f"{options.output}: export it with glus-edge export {options.output / 'checkpoint'} "
        f"--vision-tower {options.output / 'clip'} --sam2-config {options.output / 'sam2.yaml'} --output BUNDLE"
    )
    return 0


def write_synthetic(name: str, output: Path, seed: int = 0) -> None:
    """Write the preset `name` of SIZES to a new folder, whole or not at all.

    The same seed gives the same weights. Raises InputError for an unknown preset, OutputError where the folder exists
    or cannot be written.
    """
    if name not in SIZES:
        raise InputError(f"--size: got {name!r}, expected one of {', '.join(SIZES)}")
    if output.is_dir() and any(output.iterdir()):
        raise OutputError(f"{output}: exists already, expected a new folder; give another --output")
    with new_folder(output, overwrite=False) as folder:
        _Synthetic(SIZES[name], folder, seed).write()


class _Synthetic:
    """The steps of one model, each writing into `folder`."""

    def __init__(self, size: SyntheticSize, folder: Path, seed: int) -> None:
        self._size, self._folder, self._seed = size, folder, seed

    def write(self) -> None:
        """Writes everything."""
        tree, language, vision = self._size.sam2_tree(), self._size.language, self._size.vision
        (self._folder / "sam2.yaml").write_text(yaml.safe_dump({"model": tree}), encoding="utf-8")
        sam2_shapes = {PREFIX + name: tuple(tensor.shape) for name, tensor in build_sam2(tree).state_dict().items()}
        checkpoint, clip = self._folder / "checkpoint", self._folder / "clip"
        checkpoint.mkdir()
        clip.mkdir()
        pieces = language.vocabulary_size - len(ADDED_TOKENS)
        write_synthetic_tokenizer(checkpoint, pieces, ADDED_TOKENS)
        _write_json(checkpoint / "config.json", language_json(language, self._size.dtype))
        _write_json(checkpoint / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0})
        _write_json(clip / "config.json", vision_json(vision))
        _write_json(clip / "preprocessor_config.json", preprocessor_json(vision.image_size))

        text_shapes = language_shapes(language)
        buffers = rotary_buffers(language)
        shapes = text_shapes | {key: tuple(value.shape) for key, value in buffers.items()} | sam2_shapes

        def language_or_sam2(name: str) -> torch.Tensor:
            if name in buffers:
                return buffers[name].to(self._size.dtype)
            if name in text_shapes:
                return self._made(name, lambda g: language_tensor(name, text_shapes[name], language, pieces, g))
            return self._made(name, lambda g: random_tensor(name, sam2_shapes[name], g))

        def clip_tensor(name: str) -> torch.Tensor:
            generator = self._generator(name)
            return random_tensor(name, clip_shapes[name], generator)

        clip_shapes = vision_shapes(vision)
        total = _nbytes(shapes, self._size.dtype) + _nbytes(clip_shapes, torch.float32)
        with tqdm(total=total, unit="B", unit_scale=True, desc="weights", disable=None, delay=1) as bar:
            progress: Progress = bar.update
            write_weights(clip, clip_shapes, clip_tensor, torch.float32, progress)
            write_weights(checkpoint, shapes, language_or_sam2, self._size.dtype, progress)

    def _made(self, name: str, make: Callable[[torch.Generator], torch.Tensor]) -> torch.Tensor:
        return make(self._generator(name)).to(self._size.dtype)

    def _generator(self, name: str) -> torch.Generator:
        # By name, so that a tensor does not depend on what was made before it.
        return torch.Generator().manual_seed(zlib.crc32(f"{self._seed} {name}".encode()))


def _nbytes(shapes: Shapes, dtype: torch.dtype) -> int:
    return sum(torch.Size(shape).numel() for shape in shapes.values()) * dtype.itemsize


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
