"""Deterministic damage to a JSON document: values of another kind or size, keys that are gone, twice or new, nesting
without end, other encodings, and bytes that are no JSON.
"""

import json
from typing import Any

from tests.sweeps.mutations.mutate import Chance, plain

_HOLE = "hole-in-the-document"
_DEEP = 3000
_VALUES = (
    *("null", "true", "false", "0", "-0", "-1", "1.0", "1e2", "1e999", "-1e999", "0.1e-400", "NaN", "Infinity"),
    *("2147483648", "9007199254740993", "18446744073709551616", "9" * 400, "9" * 5000, "[]", "{}", '""', '" "'),
    *('"\\ud800"', '"\\u0000"', '"\\u202e"', '"\\u001b[2J"', '"../../etc/passwd"', '"/"', '"."', '"é"', '"1"', '"nan"'),
    *('"' + "x" * 2000 + '"', '"{0.__class__}"', '"%s"', "[null]", "[[]]", "[1, 2]", '{"a": 1}', '{"": {}}', '["a"]'),
    *("[" * _DEEP + "]" * _DEEP, '{"a":' * _DEEP + "1" + "}" * _DEEP, "[" * 100_000),
)
Place = tuple[str | int, ...]


def damaged(data: bytes, chance: Chance) -> bytes:
    """The document with one or some of these."""
    if chance.random() < 0.2:
        return plain(data, chance)
    document = json.loads(data)
    holes = list[str]()
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        places = [place for place in _places(document, ()) if place]
        if places:
            _damage(document, places, holes, chance)
    text = json.dumps(document)
    for number, hole in enumerate(holes):
        text = text.replace(f'"{_HOLE}-{number}"', hole)
    if chance.random() < 0.05:
        return text.encode(chance.choice(("utf-16", "utf-8-sig", "utf-32", "utf-7")))
    return plain(text.encode(), chance) if chance.random() < 0.05 else text.encode()


def _damage(document: Any, places: list[Place], holes: list[str], chance: Chance) -> None:
    """Change one thing; a hole stands for what `json.dumps` would not write, and is filled in its text."""
    *way, name = chance.choice(places)
    around = _at(document, way)
    match chance.randrange(8):
        case 0:
            del around[name]
        case 1:
            other = _at(document, chance.choice(places))
            around[name] = json.loads(json.dumps(other))
        case 2 if isinstance(around, dict):
            around[f"{_HOLE}-{len(holes)}"] = around[name]
            holes.append(json.dumps(chance.choice((name, name, f"{name} ", "schema", "", "__class__"))))
        case 3 if isinstance(around, list):
            around.extend(around[:1] * chance.choice((1, 2, 100)))
        case 4 if isinstance(around[name], str):
            around[name] = chance.choice((around[name].upper(), around[name][:-1], around[name] * 2, "\n", "é"))
        case 5 if type(around[name]) in (int, float):
            around[name] = chance.choice((around[name] + 1, -around[name], around[name] * 1000, around[name] / 2))
        case _:
            around[name] = f"{_HOLE}-{len(holes)}"
            holes.append(chance.choice(_VALUES))


def _places(document: Any, way: Place) -> list[Place]:
    """The way to every value, the outer ones first."""
    found = [way]
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for name, value in items:
        found += _places(value, (*way, name))
    return found


def _at(document: Any, way: Any) -> Any:
    for name in way:
        document = document[name]
    return document
