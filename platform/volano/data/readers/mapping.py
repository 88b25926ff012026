"""How a foreign dataset's fields become an embodiment's channels: a JSON document, parsed strictly.

It names a unit for every channel, so that degrees never pass for radians in silence, and says who vouches for the
outcome. Parsing and comparing with a contract are pure; every unknown name comes with the nearest known one.
"""

import re
from collections.abc import Iterable
from collections.abc import Mapping as MappingType
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, Self, get_args

from volano.data.episode import OutcomeSource
from volano.data.readers.units import factor
from volano.data.text import is_plain_text, strict_json
from volano.embodiment.contract import Channel, Embodiment
from volano.errors import Code, DataError

SCHEMA = "volano.mapping.1"
Fit = Literal["exact", "stretch", "crop"]
When = Literal["ever", "end"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class ColumnOf:
    """One column of a foreign field, by number or by the source's own name for it."""

    field: str
    column: int | str


@dataclass(frozen=True, kw_only=True)
class ChannelOf:
    """Where a channel comes from: `value * scale + offset` is in `unit`, and is brought to the contract's unit."""

    place: ColumnOf
    unit: str
    scale: float
    offset: float


@dataclass(frozen=True, kw_only=True)
class CameraOf:
    """Where a camera comes from. `fit`: `exact` refuses another size, `stretch` scales it, `crop` cuts to the
    contract's proportions about the middle and scales."""

    field: str
    fit: Fit


@dataclass(frozen=True, kw_only=True)
class SuccessOf:
    """Success as the source recorded it: the column reached `at_least`, in any row or in the last one."""

    place: ColumnOf
    at_least: float
    when: When


@dataclass(frozen=True, kw_only=True)
class ClockOf:
    """For logs of messages without common rows: every message of `topic` is one row, and each other topic gives its
    newest message that is at most `max_age_s` old then."""

    topic: str
    max_age_s: float


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """A whole mapping document."""

    dataset: str
    """Begins the name of every attempt."""
    task: str
    instruction: str
    """The instruction of every episode; empty when `instruction_field` names the source's own."""
    instruction_field: str
    success: bool | SuccessOf
    outcome_source: OutcomeSource
    started_at: float | None
    """Unix time in seconds, for sources that do not know when they were recorded."""
    rate_hz: float | None
    """For sources that do not know their rate."""
    clock: ClockOf | None
    cameras: MappingType[str, CameraOf]
    state: MappingType[str, ChannelOf]
    action: MappingType[str, ChannelOf]

    @property
    def fields(self) -> frozenset[str]:
        """Every foreign field of numbers that is needed."""
        places = [channel.place for part in (self.state, self.action) for channel in part.values()]
        if isinstance(self.success, SuccessOf):
            places.append(self.success.place)
        return frozenset(place.field for place in places)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse a document; raises DataError(E-DATA-081) with what is wrong, and the nearest known name."""
        try:
            return cls(**_document(strict_json(data)))
        except DataError:
            raise
        except (ValueError, RecursionError) as error:
            raise wrong(f"it is not sound JSON: {error}") from error

    def require_fits(self, embodiment: Embodiment) -> None:
        """Raise DataError(E-DATA-081) unless exactly the contract's cameras and channels are mapped, in units that can
        be brought to the contract's."""
        _same("cameras", self.cameras, [camera.name for camera in embodiment.cameras])
        for part, mapped, channels in (
            ("state", self.state, embodiment.state),
            ("action", self.action, embodiment.action),
        ):
            _same(part, mapped, [channel.name for channel in channels])
            for channel in channels:
                _require_unit(part, mapped[channel.name], channel)


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?`, or what there is, or nothing."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there is {', '.join(map(repr, names[:12]))}" if names else ""


def wrong(cause: str) -> DataError:
    """The error of a mapping that cannot be used."""
    return DataError(Code.DATA_MAPPING, f"the mapping: {cause}", "correct the document; docs/formats.md describes it")


def _require_unit(part: str, mapped: ChannelOf, channel: Channel) -> None:
    if factor(mapped.unit, channel.unit) is None:
        raise wrong(f"{part}.{channel.name} is in {mapped.unit!r}, which cannot be brought to {channel.unit!r}")


def _same(part: str, mapped: MappingType[str, object], needed: list[str]) -> None:
    for name in mapped:
        if name not in needed:
            raise wrong(f"{part} has {name!r}, which the contract has not{nearest(name, needed)}")
    for name in needed:
        if name not in mapped:
            raise wrong(f"{part}.{name} of the contract is missing")


class _Object:
    """A JSON object whose keys are all known."""

    def __init__(self, data: object, path: str, keys: Iterable[str]) -> None:
        if not isinstance(data, dict):
            raise wrong(f"{path or 'the document'} is not an object")
        self.data: dict[str, Any] = data
        self.path = path
        known = set(keys)
        for key in data:
            if key not in known:
                raise wrong(f"{self.at(key)} is unknown{nearest(key, known)}")

    def at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def text(self, key: str) -> str:
        value = self.data.get(key)
        if not isinstance(value, str) or not value.strip() or len(value) > 1000 or not is_plain_text(value):
            raise wrong(f"{self.at(key)} is not a short text")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value: Any = self.data.get(key, default)
        if type(value) not in (int, float) or not -1e12 < value < 1e12:
            raise wrong(f"{self.at(key)} is not a number")
        return float(value)

    def positive(self, key: str) -> float | None:
        if key not in self.data:
            return None
        value = self.number(key)
        if value <= 0:
            raise wrong(f"{self.at(key)} is not positive")
        return value

    def word(self, key: str, words: Iterable[str], default: str = "") -> Any:
        value = self.data.get(key, default)
        if value not in tuple(words):
            raise wrong(f"{self.at(key)} is {value!r}, not one of: {', '.join(words)}")
        return value

    def place(self) -> ColumnOf:
        column = self.data.get("column", 0)
        if type(column) is str or (type(column) is int and 0 <= column < 1 << 16):
            return ColumnOf(field=self.text("field"), column=column)
        raise wrong(f"{self.at('column')} is neither a number from 0 nor a name")


_KEYS = ("schema", "dataset", "task", "instruction", "outcome", "started_at", "rate_hz", "clock")
_PARTS = ("cameras", "state", "action")


def _document(data: object) -> dict[str, Any]:
    document = _Object(data, "", (*_KEYS, *_PARTS))
    document.word("schema", (SCHEMA,))
    if not _NAME.fullmatch(document.text("dataset")):
        raise wrong("dataset is not a plain name of at most 64 letters, digits, - _ .")
    return {
        "dataset": document.text("dataset"),
        "task": document.text("task"),
        **_instruction(document),
        **_outcome(document),
        "started_at": document.positive("started_at"),
        "rate_hz": document.positive("rate_hz"),
        "clock": _clock(document),
        "cameras": {name: _camera(part) for name, part in _each(document, "cameras", ("field", "fit"))},
        **{
            key: {name: _channel(part) for name, part in _each(document, key, _CHANNEL_KEYS)}
            for key in ("state", "action")
        },
    }


_CHANNEL_KEYS = ("field", "column", "unit", "scale", "offset")


def _each(document: _Object, key: str, keys: tuple[str, ...]) -> list[tuple[str, _Object]]:
    part = document.data.get(key)
    if not isinstance(part, dict):
        raise wrong(f"{key} is not an object of names")
    return [(name, _Object(value, f"{key}.{name}", keys)) for name, value in part.items()]


def _channel(part: _Object) -> ChannelOf:
    return ChannelOf(
        place=part.place(),
        unit=part.text("unit"),
        scale=part.number("scale", 1.0),
        offset=part.number("offset", 0.0),
    )


def _camera(part: _Object) -> CameraOf:
    return CameraOf(field=part.text("field"), fit=part.word("fit", get_args(Fit), "exact"))


def _instruction(document: _Object) -> dict[str, str]:
    part = _Object(document.data.get("instruction"), "instruction", ("text", "field"))
    if set(part.data) == {"text"}:
        return {"instruction": part.text("text"), "instruction_field": ""}
    if set(part.data) == {"field"}:
        return {"instruction": "", "instruction_field": part.text("field")}
    raise wrong("instruction needs either `text` or `field`")


def _outcome(document: _Object) -> dict[str, Any]:
    part = _Object(document.data.get("outcome"), "outcome", ("success", "source"))
    success: object = part.data.get("success")
    if not isinstance(success, bool):
        recorded = _Object(success, "outcome.success", ("field", "column", "at_least", "when"))
        success = SuccessOf(
            place=recorded.place(),
            at_least=recorded.number("at_least", 1.0),
            when=recorded.word("when", get_args(When), "ever"),
        )
    return {"success": success, "outcome_source": part.word("source", get_args(OutcomeSource))}


def _clock(document: _Object) -> ClockOf | None:
    if "clock" not in document.data:
        return None
    part = _Object(document.data["clock"], "clock", ("topic", "max_age_s"))
    age = part.positive("max_age_s")
    if age is None:
        raise wrong("clock.max_age_s is missing")
    return ClockOf(topic=part.text("topic"), max_age_s=age)
