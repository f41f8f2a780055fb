"""The rotary positions of a config.json, in the layouts of transformers 4 and 5; only the plain kind is followed."""

from glus_edge.export.checkpoint.json_file import JsonObject

DEFAULT_THETA = 10000.0  # of LlamaConfig
# transformers 4 has rope_theta and, for other kinds than the plain one, rope_scaling; transformers 5 has all in one.
LAYOUTS = ("rope_scaling", "rope_parameters")
_PLAIN = "plain rotary positions over whole heads; scaled or partial ones are not supported"
_PARTIAL = ("partial_rotary_factor", "rotary_pct", "rotary_percentage", "rotary_fraction")


def rope_theta(config: JsonObject) -> float:
    """The base of the rotary frequencies. Raises CheckpointError naming the key of anything but plain rotary positions."""
    found = {"rope_theta": config.number("rope_theta")} if config.values.get("rope_theta") is not None else {}
    for key in LAYOUTS:
        if config.values.get(key) is None:
            continue
        rope = config.child(key)
        if rope is None:
            raise config.error(key, f"null or an object: {_PLAIN}")
        _check_plain(config, key, rope)
        if rope.values.get("rope_theta") is not None:
            found[f"{key}.rope_theta"] = rope.number("rope_theta")
    for key in _PARTIAL:
        config.require(key, (1,), _PLAIN)
    for key in ("rope_interleaved", "rope_interleave"):
        config.require(key, (False,), "LLaMA rotates the two halves of a head")
    for key, theta in found.items():
        if theta != next(iter(found.values())):
            raise config.error(key, f"one base, as {next(iter(found))} says {next(iter(found.values())):g}")
    return next(iter(found.values()), DEFAULT_THETA)


def _check_plain(config: JsonObject, key: str, rope: JsonObject) -> None:
    for kind_key in ("rope_type", "type"):
        kind = rope.values.get(kind_key)
        linear_by_one = kind == "linear" and rope.values.get("factor") == 1
        if kind not in (None, "default") and not linear_by_one:
            raise config.error(key, f"{kind_key} default: {_PLAIN}")
    for name, value in rope.values.items():
        if isinstance(value, dict):  # one object for each type of layer
            raise config.error(key, f"the same for all layers: {_PLAIN}")
        if name in ("factor", *_PARTIAL):
            rope.require(name, (1,), _PLAIN)
