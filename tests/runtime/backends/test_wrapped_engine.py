from types import SimpleNamespace

from glus_edge.runtime.backends.wrapped_engine import WrappedEngine


def test_a_wrapped_engine_is_the_engine_it_holds() -> None:
    calls: list[object] = []
    inner = SimpleNamespace(
        name="graph",
        signature="signature",
        device="device",
        run=lambda inputs, outputs: calls.append((inputs, outputs)),
        close=lambda: calls.append("closed"),
    )
    engine = WrappedEngine(inner)
    assert (engine.name, engine.signature, engine.device) == ("graph", "signature", "device")
    engine.run({"a": 1}, {"b": 2})
    engine.close()
    assert calls == [({"a": 1}, {"b": 2}), "closed"]
