"""Run configurations as frozen dataclasses: overrides from the command line, JSON, and a digest that names a run.

Data only: no class paths, no interpolation, no code. An unknown key is an error that names the nearest one.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from volano.errors import Code, ConfigError
from volano.storage.content import canonical_json, sha256_bytes

T = TypeVar("T")
SCHEMA = 1


def to_json(config: Any) -> dict[str, Any]:
    """Plain data of a configuration."""
    return dataclasses.asdict(config)


def digest(config: Any) -> str:
    """SHA-256 of the canonical JSON, with the schema's version."""
    return sha256_bytes(canonical_json({"schema": SCHEMA, "config": to_json(config)}))


def apply(config: T, overrides: Sequence[str]) -> T:
    """A copy with `key.path=value` applied in order; positions index tuples, as in `stages.0.steps=5`.

    Raises ConfigError: E-CONFIG-002 for an unknown key, E-CONFIG-003 for a value of another type.
    """
    for override in overrides:
        path, separator, text = override.partition("=")
        if not separator or not path:
            raise ConfigError(Code.CONFIG_VALUE, f"{override!r} is not key=value", "write it like train.batch=64")
        config = _replaced(config, type(config), path.split("."), text, path)
    return config


def load_json(cls: type[T], data: object) -> T:
    """Build a configuration from plain data; every key must be known, and missing ones must have a default."""
    built: T = _built(cls, data, "")
    return built


def _replaced(value: Any, hint: Any, path: Sequence[str], text: str, whole: str) -> Any:
    if not path:
        return _built(hint, _parsed(text, hint, whole), whole)
    name, rest = path[0], path[1:]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = get_type_hints(type(value))
        if name not in hints:
            raise _unknown(name, list(hints), whole)
        changed = _replaced(getattr(value, name), hints[name], rest, text, whole)
        return dataclasses.replace(value, **{name: changed})
    if isinstance(value, tuple):
        if not name.isdigit() or int(name) >= len(value):
            raise _unknown(name, [str(position) for position in range(len(value))], whole)
        hint = type(value[int(name)])
        return tuple(
            _replaced(item, hint, rest, text, whole) if position == int(name) else item
            for position, item in enumerate(value)
        )
    if isinstance(value, dict) and not rest:
        return {**value, name: _built(get_args(hint)[1], _parsed(text, get_args(hint)[1], whole), whole)}
    raise _unknown(name, [], whole)


def _parsed(text: str, hint: Any, path: str) -> object:
    if hint is str or (get_origin(hint) is Literal):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(Code.CONFIG_VALUE, f"{path}: {text!r} is not a value", "write JSON: 5, 0.1, true") from error


def _built(hint: Any, data: object, path: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _dataclass(hint, data, path)
    if origin is Literal:
        return _require(data in arguments, data, f"one of {', '.join(map(str, arguments))}", path)
    if origin in (Union, UnionType):
        options = [option for option in arguments if option is not type(None)]
        return None if data is None else _built(options[0], data, path)
    if origin is tuple:
        _require(isinstance(data, list | tuple), data, "a list", path)
        items = list(data) if isinstance(data, list | tuple) else []
        hints = [arguments[0]] * len(items) if arguments[-1] is Ellipsis else list(arguments)
        _require(len(items) == len(hints), data, f"{len(hints)} values", path)
        return tuple(
            _built(item_hint, item, f"{path}.{n}") for n, (item_hint, item) in enumerate(zip(hints, items, strict=True))
        )
    if origin is dict:
        _require(isinstance(data, dict), data, "a map", path)
        entries = data.items() if isinstance(data, dict) else ()
        return {str(key): _built(arguments[1], value, f"{path}.{key}") for key, value in entries}
    if hint is float:
        number = isinstance(data, int | float) and not isinstance(data, bool)
        return float(_require(number, data, "a number", path))
    return _require(type(data) is hint, data, f"of type {hint.__name__}", path)


def _dataclass(cls: type[Any], data: object, path: str) -> Any:
    if not isinstance(data, Mapping):
        raise ConfigError(Code.CONFIG_VALUE, f"{path or cls.__name__}: expected a map", "give the fields by name")
    hints = get_type_hints(cls)
    for name in data:
        if name not in hints:
            raise _unknown(str(name), list(hints), f"{path}.{name}".lstrip("."))
    required = {
        field.name
        for field in dataclasses.fields(cls)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    missing = sorted(required - set(data))
    if missing:
        raise ConfigError(Code.CONFIG_KEY, f"{path or cls.__name__}: missing {', '.join(missing)}", "add the fields")
    return cls(**{name: _built(hints[name], value, f"{path}.{name}".lstrip(".")) for name, value in data.items()})


def _require(holds: bool, data: Any, wanted: str, path: str) -> Any:
    if not holds:
        raise ConfigError(Code.CONFIG_VALUE, f"{path}: {data!r} is not {wanted}", f"give {wanted}")
    return data


def _unknown(name: str, known: list[str], path: str) -> ConfigError:
    near = get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ConfigError(Code.CONFIG_KEY, f"unknown key {path!r}", f"{hint}known here: {', '.join(known) or 'nothing'}")
