"""What became of one execution provider when it was tried."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ProviderState:
    """One execution provider of ONNX Runtime."""

    name: str
    usable: bool
    detail: str  # why not, or how far its product was off
