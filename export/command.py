"""`glus-edge export`."""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from glus_edge.export.checkpoint.sam2_config import OFFICIAL_NAMES
from glus_edge.export.options import EMBEDDINGS, LANGUAGE_WEIGHTS, PRECISIONS, VISION_WEIGHTS, ExportOptions
from glus_edge.export.staging import check_target


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    defaults = {field.name: field.default for field in ExportOptions.__dataclass_fields__.values()}
    parser.description = "Compile a GLUS checkpoint into a bundle: portable ONNX graphs and all that goes with them."
    parser.add_argument(
        "checkpoint",
        type=Path,
        help="folder of the checkpoint (config.json, weights, tokenizer), or its name on the Hugging Face Hub: "
        "OWNER/NAME or OWNER/NAME@REVISION",
    )
    parser.add_argument(
        "--vision-tower",
        type=Path,
        metavar="DIR",
        help="folder of CLIP, or its name on the Hub (default: the one config.json names, beside the checkpoint, in it or "
        "here; for a checkpoint from the Hub, from there too)",
    )
    parser.add_argument(
        "--sam2-config",
        default=defaults["sam2_config"],
        metavar="NAME|YAML",
        help=f"{', '.join(OFFICIAL_NAMES)} or a YAML file (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the bundle to write")
    parser.add_argument(
        "--precision",
        choices=list(PRECISIONS),
        default=defaults["precision"],
        help="of activations, and of the weights of all graphs but the language model (default: %(default)s)",
    )
    parser.add_argument(
        "--language-weights", choices=LANGUAGE_WEIGHTS, help="of the language model (default: the precision)"
    )
    parser.add_argument(
        "--vision-weights",
        choices=VISION_WEIGHTS,
        help="of the other graphs, computed in fp32 all the same (default: the precision)",
    )
    parser.add_argument(
        "--embedding",
        choices=EMBEDDINGS,
        help="of the embedding table; int8: each row with a scale of its own (default: the precision)",
    )
    parser.add_argument(
        "--context-frames",
        type=int,
        default=defaults["context_frames"],
        metavar="N",
        help="the checkpoint was trained with (default: %(default)s)",
    )
    parser.add_argument(
        "--memory-slots",
        type=int,
        default=defaults["memory_slots"],
        metavar="N",
        help="of the memory bank; 0: none (default: %(default)s)",
    )
    parser.add_argument(
        "--reference-gamma",
        action="store_true",
        help="run the memory encoder with the layer scale that the reference's script ends up with (1e-6), "
        "not the checkpoint's",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")


def run(arguments: argparse.Namespace) -> int:
    """Exports; 0, or a GlusEdgeError for the command line to print."""
    settings = ExportOptions(
        checkpoint=arguments.checkpoint,
        output=arguments.output,
        vision_tower=arguments.vision_tower,
        sam2_config=arguments.sam2_config,
        precision=arguments.precision,
        language_weights=arguments.language_weights,
        vision_weights=arguments.vision_weights,
        embedding=arguments.embedding,
        context_frames=arguments.context_frames,
        memory_slots=arguments.memory_slots,
        reference_gamma=arguments.reference_gamma,
        overwrite=arguments.overwrite,
    )
    # Behind the options: torch takes seconds to import, and a wrong argument is answered at once.
    from glus_edge.export.export import export_bundle
    from glus_edge.export.hub_source import local_sources

    check_target(settings.output, settings.overwrite)  # before anything is fetched
    checkpoint, vision_tower, origin = local_sources(settings.checkpoint, settings.vision_tower)
    options = replace(settings, checkpoint=checkpoint, vision_tower=vision_tower, origin=origin)
    started = time.monotonic()
    lines = _Lines(started)
    try:
        manifest = export_bundle(options, lines)
    finally:
        lines.end()
    for name, graph in manifest.graphs.items():
        for entry in sorted(graph.parity, key=lambda entry: entry.relative_l2)[-1:]:
            worst = f"{entry.relative_l2:.1e} from torch at worst ({entry.output}; {entry.tolerance:.0e} allowed)"
            print(f"{name:17s} {worst}")
    total = sum(path.stat().st_size for path in options.output.iterdir())
    print(f"{options.output}: {total / 1e6:.1f} MB in {time.monotonic() - started:.0f} s")
    return 0


class _Lines:
    """Progress on stderr: one line, rewritten on a terminal; warnings stay."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._rewrites = sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        line = f"[{time.monotonic() - self._started:5.0f} s] {text}"
        if self._rewrites:
            line = f"\r\x1b[2K{line}"
        sys.stderr.write(line + ("\n" if not self._rewrites or text.startswith("warning") else ""))
        sys.stderr.flush()

    def end(self) -> None:
        """Takes the rewritten line away."""
        if self._rewrites:
            sys.stderr.write("\r\x1b[2K")
