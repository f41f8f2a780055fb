"""What writing the language model needs of whoever holds its weights: a checkpoint, a bundle, or either one rescaled."""

from typing import Protocol

import torch


class LanguageConstants(Protocol):
    """The two numbers of a LLaMA that no shape tells."""

    @property
    def rms_norm_eps(self) -> float:
        """Added to the mean square under the root."""
        ...

    @property
    def rope_theta(self) -> float:
        """Base of the rotary frequencies."""
        ...


class LanguageWeights(Protocol):
    """Tensors of the language model under the checkpoint's names."""

    @property
    def config(self) -> LanguageConstants:
        """The model's constants."""
        ...

    def tensor(self, name: str) -> torch.Tensor:
        """A copy of one tensor, [out, in] for a matrix. Raises CheckpointError where there is none of this name."""
        ...


def is_language_matrix(name: str) -> bool:
    """Whether a tensor is one that graphs may store rounded: the layers' seven projections and lm_head."""
    return name == "lm_head.weight" or (name.startswith("model.layers.") and name.endswith("_proj.weight"))
