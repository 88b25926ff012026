"""Configuration as data: frozen dataclasses, changed by `key.path=value`, saved as canonical JSON, named by a hash.

Structure (which keys there are) is decided here, from the dataclasses alone; each value is converted to its field's
type by OmegaConf's structured configs. Nothing is interpolated, resolved, imported or called: `${` is refused
everywhere. OmegaConf is imported when a value is converted, so importing this module costs nothing.
"""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, asdict, fields, is_dataclass, make_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

from volano.errors import Code, ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
SCHEMA_VERSION = 1
"""Version of the saved form; it changes when saved configurations can no longer be read as they stand."""
_SCHEMA_KEY = "schema_version"


def apply(config: T, overrides: Sequence[str]) -> T:
    """The configuration with every `key.path=value` applied in order, items of a tuple addressed by number.

    Raises ConfigError: E-CONFIG-002 for a key that does not exist, E-CONFIG-003 for a value that does not fit.
    """
    data: dict[str, Any] = asdict(config)
    for override in overrides:
        path, separator, text = override.partition("=")
        if not separator:
            raise _value_error(override, "there is no `=` in it")
        _set(config, data, path, text)
    return _build(type(config), data, "") if overrides else config


def to_json(config: "DataclassInstance") -> dict[str, object]:
    """Plain data with the schema version, without class names; `load_json` is its inverse."""
    plain: dict[str, object] = json.loads(_canonical(asdict(config)))
    return {_SCHEMA_KEY: SCHEMA_VERSION, **plain}


def digest(config: "DataclassInstance") -> str:
    """Hex SHA-256 of the canonical JSON of the configuration and its schema version."""
    return hashlib.sha256(_canonical(to_json(config))).hexdigest()


def load_json(cls: type[T], data: object) -> T:
    """Build from untrusted plain data, with or without its schema version; absent fields take their defaults.

    Raises ConfigError: E-CONFIG-002 for an unknown or missing key, E-CONFIG-003 for a value that does not fit.
    """
    if isinstance(data, Mapping) and _SCHEMA_KEY in data:
        version = data[_SCHEMA_KEY]
        if version != SCHEMA_VERSION or isinstance(version, bool):
            raise _value_error(_SCHEMA_KEY, f"this Volano reads version {SCHEMA_VERSION}, not {version!r}")
        data = {key: value for key, value in data.items() if key != _SCHEMA_KEY}
    return _build(cls, data, "")


def _canonical(data: object) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def _set(config: "DataclassInstance", data: dict[str, Any], path: str, text: str) -> None:
    """Put the text's value at its path in `data`, which is `config` as plain data."""
    *parents, last = path.split(".")
    node: Any = config
    plain: Any = data
    for depth, part in enumerate(parents):
        node, plain = _child(node, part, path), plain[_index(plain, part)]
        if not is_dataclass(node) and not isinstance(node, dict | tuple):
            raise _key_error(f"there is no key {path!r}: {'.'.join(parents[: depth + 1])!r} has no parts")
    if isinstance(node, dict):
        plain[last] = _parse(path, text)
        return
    old = _child(node, last, path)
    if is_dataclass(old) or (isinstance(old, tuple) and any(is_dataclass(item) for item in old)):
        raise _value_error(path, "it is a group of keys; set them one by one")
    if isinstance(plain, tuple):
        raise _value_error(path, f"set all items at once: {'.'.join(parents)}=[...]")
    hint = get_type_hints(type(node))[last]
    plain[last] = text if hint is str else _parse(path, text)


def _child(node: Any, part: str, path: str) -> Any:
    if is_dataclass(node):
        known = [field.name for field in fields(node)]
    elif isinstance(node, dict):
        known = [str(key) for key in node]
    else:
        known = [str(position) for position in range(len(node))]
    if part not in known:
        raise _key_error(f"there is no key {path!r}", part, known)
    return getattr(node, part) if is_dataclass(node) else node[_index(node, part)]


def _index(container: object, part: str) -> Any:
    return int(part) if isinstance(container, tuple) else part


def _parse(path: str, text: str) -> object:
    """A value in YAML's notation: numbers, true, null, [lists], {maps}, text."""
    from omegaconf import OmegaConf
    from yaml import YAMLError

    _refuse_interpolation(path, text)
    try:
        parsed: object = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))
    except YAMLError as error:
        raise _value_error(path, f"{text!r} is not a value") from error
    return parsed["value"] if isinstance(parsed, dict) else parsed


def _build(cls: type[T], data: object, path: str) -> T:
    """A dataclass from plain data: keys checked and nested groups built here, leaf values by `_leaves`."""
    if not isinstance(data, Mapping):
        raise _value_error(path, f"expected a map of keys, got {type(data).__name__}")
    known = {field.name: field for field in fields(cls)}
    hints = get_type_hints(cls)
    for key in data:
        if key not in known:
            raise _key_error(f"there is no key {_join(path, key)!r}", str(key), list(known))
    built: dict[str, Any] = {}
    leaves: dict[str, object] = {}
    for name, field in known.items():
        if name not in data:
            if _required(field):
                raise _key_error(f"the key {_join(path, name)!r} is missing")
        elif isinstance(hints[name], type) and is_dataclass(hints[name]):
            built[name] = _build(hints[name], data[name], _join(path, name))
        elif (item := _item_class(hints[name])) is not None:
            built[name] = _build_items(item, data[name], _join(path, name))
        else:
            leaves[name] = data[name]
    return cls(**built, **_leaves(cls, hints, leaves, path))


def _required(field: "Field[Any]") -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _item_class(hint: object) -> "type[DataclassInstance] | None":
    """The dataclass D of a `tuple[D, ...]`, None for every other type."""
    arguments = get_args(hint)
    if get_origin(hint) is tuple and arguments and isinstance(arguments[0], type) and is_dataclass(arguments[0]):
        return arguments[0]
    return None


def _build_items(cls: type[T], data: object, path: str) -> tuple[T, ...]:
    if not isinstance(data, list | tuple):
        raise _value_error(path, f"expected a list, got {type(data).__name__}")
    return tuple(_build(cls, item, _join(path, position)) for position, item in enumerate(data))


def _leaves(cls: type, hints: Mapping[str, Any], values: Mapping[str, object], path: str) -> dict[str, object]:
    """Values converted to their fields' types."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    converted = {}
    for name, value in values.items():
        key = _join(path, name)
        _refuse_interpolation(key, value)
        one_field = make_dataclass(cls.__name__, [(name, hints[name])])
        try:
            merged = OmegaConf.merge(OmegaConf.structured(one_field), OmegaConf.create({name: value}))
            converted[name] = getattr(OmegaConf.to_object(merged), name)
            _canonical(converted[name])
        except (OmegaConfBaseException, TypeError, ValueError) as error:
            expected = getattr(hints[name], "__name__", None) if not get_args(hints[name]) else None
            raise _value_error(key, f"{value!r} is not {expected or hints[name]}") from error
    return converted


def _refuse_interpolation(path: str, value: object) -> None:
    if isinstance(value, str):
        if "${" in value:
            raise _value_error(path, "`${` is refused: configurations are data and refer to nothing")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_interpolation(path, key)
            _refuse_interpolation(path, item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_interpolation(path, item)


def _join(path: str, part: object) -> str:
    return f"{path}.{part}" if path else str(part)


def _key_error(cause: str, part: str = "", known: Sequence[str] = ()) -> ConfigError:
    nearest = difflib.get_close_matches(part, known, n=1, cutoff=0.5)
    fix = f"did you mean {nearest[0]!r}?" if nearest else f"choose one of: {', '.join(known)}" if known else ""
    return ConfigError(Code.CONFIG_KEY, cause, fix or "correct the key")


def _value_error(path: str, cause: str) -> ConfigError:
    return ConfigError(
        Code.CONFIG_VALUE, f"{path or 'configuration'}: {cause}", "write key.path=value with a fitting value"
    )
