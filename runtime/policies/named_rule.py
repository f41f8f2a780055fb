"""Rules by name, with settings: `every:5`, `verify:0.8,0.2`. A rule is a frozen dataclass, its fields are its settings."""

from collections.abc import Mapping
from dataclasses import Field, field, fields
from typing import Any, TypeVar

from glus_edge.runtime.errors import InputError

Rule = TypeVar("Rule")

MOST_FRAMES = 1 << 30


def share(default: float) -> float:
    """A setting from 0 to 1, as a field of a rule."""
    setting: float = field(default=default, metadata={"type": float, "bounds": (0, 1)})
    return setting


def frames(default: int) -> int:
    """A setting that is a number of frames, at least 1, as a field of a rule."""
    setting: int = field(default=default, metadata={"type": int, "bounds": (1, MOST_FRAMES)})
    return setting


def rule_pattern(name: str, rule: type[Any]) -> str:
    """How a rule is written: its name and its settings, as `verify:iou,overlap`."""
    return ":".join(filter(None, (name, ",".join(setting.name for setting in fields(rule)))))


def rule_from_text(family: str, rules: Mapping[str, type[Rule]], text: str) -> Rule:
    """A rule from its name and its first settings; those left out have their defaults.

    `family` begins every message. InputError: there is no such rule, or a setting is no number or out of bounds.
    """
    name, colon, listed = text.partition(":")
    if name not in rules:
        raise InputError(f"{family}: got {text!r}, expected one of {', '.join(rules)}")
    rule = rules[name]
    settings: tuple[Field[Any], ...] = fields(rule)  # type: ignore[arg-type]  # every rule is a dataclass
    values = listed.split(",") if listed else []
    if len(values) > len(settings) or (colon and not values):
        raise InputError(f"{family}: got {text!r}, expected {rule_pattern(name, rule)}")
    return rule(
        **{setting.name: _value(family, setting, value) for setting, value in zip(settings, values, strict=False)}
    )


def _value(family: str, setting: Field[Any], text: str) -> float:
    low, high = setting.metadata["bounds"]
    kind = setting.metadata["type"]
    try:
        value: float = kind(text)
    except ValueError as error:
        expected = "a whole number" if kind is int else "a number"
        raise InputError(f"{family}: {setting.name}: got {text!r}, expected {expected}") from error
    if not low <= value <= high:
        raise InputError(f"{family}: {setting.name}: got {text!r}, expected {low} to {high}")
    return value
