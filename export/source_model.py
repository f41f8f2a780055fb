"""What an export reads: the checkpoint, its vision tower, and the torch modules built from both."""

from dataclasses import dataclass

from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.export.checkpoint.vision_tower import VisionTower
from glus_edge.export.options import ExportOptions
from glus_edge.export.vision.modules import TorchModules, load_modules
from glus_edge.runtime.bundle.signatures import GraphSignature, ModelDimensions, signatures


@dataclass(frozen=True)
class SourceModel:
    """The model as it comes; the language model's weights stay in the checkpoint until they are asked for."""

    checkpoint: Checkpoint
    tower: VisionTower
    modules: TorchModules  # all graphs but the language model
    signatures: dict[str, GraphSignature]  # by graph

    @property
    def dimensions(self) -> ModelDimensions:
        """The model's sizes."""
        return self.modules.dimensions


def read_model(options: ExportOptions) -> SourceModel:
    """Raises CheckpointError where a file is missing, hostile, or does not belong to the others."""
    checkpoint = Checkpoint.open(options.checkpoint)
    tower = VisionTower.open(options.vision_tower_folder(checkpoint.config.vision_tower))
    modules = load_modules(checkpoint, tower, options.sam2_config, options.reference_gamma)
    return SourceModel(checkpoint, tower, modules, signatures(modules.dimensions, options.compute))
