"""The model that the reference algorithm runs: named on the command line, opened when it is needed."""

import argparse
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.utils.machine import thread_count

if TYPE_CHECKING:
    from glus_edge.benchmarks.reference.reference import Reference


@dataclass(frozen=True)
class BaselineSource:
    """Where the reference algorithm finds its model; all None: the one that ships."""

    checkpoint: Path | None = None
    vision_tower: Path | None = None
    sam2_config: str | None = None


def add_baseline_arguments(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Adds --baseline and what names its model."""
    parser.add_argument("--baseline", choices=("reference",), help=f"the reference algorithm in torch, {purpose}")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="the baseline's model: what --bundle was made from"
    )
    parser.add_argument("--vision-tower", type=Path, metavar="DIR", help="its CLIP folder")
    parser.add_argument("--sam2-config", metavar="NAME|YAML", help="its SAM 2 configuration")


def baseline_from_arguments(arguments: argparse.Namespace) -> BaselineSource | None:
    """What was asked for, None without --baseline.

    InputError: a bundle of one's own without the model it was made from, or that model without --baseline.
    """
    model = {f"--{name.replace('_', '-')}": getattr(arguments, name) for name in vars(BaselineSource())}
    given = [option for option, value in model.items() if value is not None]
    if not arguments.baseline:
        if given:
            raise InputError(
                f"{given[0]}: got one without --baseline, expected --baseline reference, whose model it names"
            )
        return None
    if arguments.bundle is None and not given:
        return BaselineSource()
    if missing := [option for option in model if option not in given]:
        raise InputError(
            f"--baseline reference: got no {missing[0]}, expected the model the bundle was exported from: --checkpoint DIR "
            "--vision-tower DIR --sam2-config NAME|YAML"
        )
    return BaselineSource(arguments.checkpoint, arguments.vision_tower, arguments.sam2_config)


def open_reference(source: BaselineSource, bundle: Bundle, threads: int = 0) -> "Reference":
    """Loads the model into this process. `threads`: 0 for every usable one. Errors: those of `Reference`, InputError."""
    # Threads that spin for work lose many times what they win when anything else runs; the runtime's do not either.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch loads its OpenMP
    import torch

    from glus_edge.benchmarks.reference.reference import Reference, ReferenceSource

    torch.set_num_threads(thread_count(threads))
    if source.checkpoint is None or source.vision_tower is None or source.sam2_config is None:
        from glus_edge.benchmarks.reference.shipped_reference import shipped_source

        with tempfile.TemporaryDirectory(prefix="glus-edge-baseline-") as folder:
            return Reference(shipped_source(Path(folder)), bundle)
    return Reference(ReferenceSource(source.checkpoint, source.vision_tower, source.sam2_config), bundle)
