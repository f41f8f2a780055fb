"""An engine around another one: for counting, recording and remembering what runs."""

from collections.abc import Mapping

from glus_edge.runtime.backends.engine import Engine
from glus_edge.runtime.device.device import Array


class WrappedEngine:
    """Runs the engine it holds. Subclasses add to `run`."""

    def __init__(self, engine: Engine) -> None:
        self.name, self.signature, self.device = engine.name, engine.signature, engine.device
        self._engine = engine

    def run(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """See Engine."""
        self._engine.run(inputs, outputs)

    def close(self) -> None:
        """See Engine."""
        self._engine.close()
