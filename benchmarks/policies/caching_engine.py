"""Engines that compute what does not depend on the policy once a video: both image towers."""

import hashlib
from collections.abc import Mapping

import numpy as np

from glus_edge.runtime.backends.engine import Backend, Engine
from glus_edge.runtime.device.device import Array, HostArray, host_array

REMEMBERED = ("clip_encoder", "image_encoder")


class CachingEngine:
    """Gives the outputs of inputs it has seen before without computing them. On the host only."""

    def __init__(self, engine: Engine) -> None:
        self.name, self.signature, self.device = engine.name, engine.signature, engine.device
        self._engine = engine
        self._seen: dict[bytes, dict[str, HostArray]] = {}

    def run(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """See Engine."""
        digest = hashlib.blake2b(repr(sorted(outputs)).encode(), digest_size=16)
        for name in sorted(inputs):
            digest.update(host_array(inputs[name]).tobytes())
        key = digest.digest()
        if key not in self._seen:
            self._engine.run(inputs, outputs)
            self._seen[key] = {name: host_array(output).copy() for name, output in outputs.items()}
            return
        for name, output in outputs.items():
            np.copyto(host_array(output), self._seen[key][name])

    def forget(self) -> None:
        """Lets go of all that was seen."""
        self._seen.clear()

    def close(self) -> None:
        """See Engine."""
        self._engine.close()


class CachingBackend:
    """A backend whose image towers remember until `forget`."""

    def __init__(self, backend: Backend) -> None:
        self.name, self.device = backend.name, backend.device
        self._backend = backend
        self._engines: list[CachingEngine] = []

    def open(self, graph: str) -> Engine:
        """See Backend."""
        engine = self._backend.open(graph)
        if graph not in REMEMBERED:
            return engine
        remembering = CachingEngine(engine)
        self._engines.append(remembering)
        return remembering

    def forget(self) -> None:
        """Call it after each video."""
        for engine in self._engines:
            engine.forget()
