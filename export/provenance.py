"""Where a bundle comes from: names and versions, never a path of the machine that made it."""

from importlib.metadata import PackageNotFoundError, version

from glus_edge.export.options import ExportOptions

TOOLS = ("glus-edge", "torch", "onnx", "onnxscript", "onnxruntime", "sam2", "numpy")


def provenance(options: ExportOptions, vision_tower: str) -> dict[str, str]:
    """Entries of the manifest: inputs by name, settings, tool versions."""
    entries = {
        "checkpoint": options.checkpoint.resolve().name,
        "vision_tower": vision_tower,
        "sam2_config": options.sam2_config.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".yaml"),
        "precision": options.precision,
        "language_weights": options.weights,
        "vision_weights": options.vision_weights or options.precision,
        "token_embedding": options.table,
        "fuser_gamma": "reference (1e-6)" if options.reference_gamma else "checkpoint",
    }
    return entries | options.origin | {tool: _version(tool) for tool in TOOLS}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
