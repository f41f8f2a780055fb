"""JSON to frozen dataclasses and back, every value checked against its annotation: files read are hostile."""

import dataclasses
import json
import math
import types
import typing
from typing import Any, TypeVar

T = TypeVar("T")

_SHOWN = 60  # characters of a value that does not fit


class SchemaError(ValueError):
    """A JSON value that does not fit its annotation; the message names the path, what came and what was expected."""


def to_json(value: Any) -> Any:
    """Plain JSON types from dataclasses, tuples and dicts."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    return value


def record_json(value: Any) -> Any:
    """`to_json` for other programs: JSON has no infinities, and what is no number is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: record_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [record_json(item) for item in value]
    return record_json(to_json(value)) if dataclasses.is_dataclass(value) else value


def json_document(content: bytes) -> Any:
    """Parsed JSON in UTF-8. SchemaError: it is none, names a key twice, is nested too deep or has too long a number."""
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=_distinct)
    except RecursionError as error:
        raise SchemaError("got values nested too deep") from error
    except SchemaError:
        raise
    except ValueError as error:
        raise SchemaError(f"got no JSON ({error})") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise SchemaError(f"got the key {twice[:60]!r} twice")
    return found


def from_json(kind: type[T], value: Any, where: str = "") -> T:
    """The dataclass `kind` from parsed JSON. Unknown and missing keys, wrong types: SchemaError naming the path."""
    return typing.cast(T, _convert(kind, value, where))


def _convert(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dataclass(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _union(arguments, value, where)
    if origin is tuple:
        _expect(value, list, where)
        if arguments[-1] is Ellipsis:
            return tuple(_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
        if len(value) != len(arguments):
            raise SchemaError(f"{where}: got {len(value)} values, expected {len(arguments)}")
        return tuple(
            _convert(item_kind, item, f"{where}[{i}]")
            for i, (item_kind, item) in enumerate(zip(arguments, value, strict=True))
        )
    if origin is dict:
        _expect(value, dict, where)
        return {key: _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise SchemaError(f"{where}: got a whole number beyond every float, expected float") from error
    _expect(value, kind, where)
    return value


def _dataclass(kind: type[Any], value: Any, where: str) -> Any:
    _expect(value, dict, where)
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise SchemaError(f"{where or 'the document'}: got unknown key {unknown[0]!r}, expected {', '.join(fields)}")
    arguments = {}
    for name, field in fields.items():
        path = f"{where}.{name}" if where else name
        if name in value:
            arguments[name] = _convert(hints[name], value[name], path)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SchemaError(f"{path}: got nothing, expected {_name(hints[name])}")
    return kind(**arguments)


def _union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    kinds = [kind for kind in arguments if kind is not type(None)]
    for kind in kinds[:-1]:
        if isinstance(kind, type) and type(value) is kind:
            return value
    return _convert(kinds[-1], value, where)


def _expect(value: Any, kind: type[Any], where: str) -> None:
    # bool is an int to isinstance, never to a reader of JSON.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise SchemaError(f"{where or 'the document'}: got {_shown(value)}, expected {_name(kind)}")


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):  # which may hold much
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    shown = repr(value) if isinstance(value, str) else json.dumps(value)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))
