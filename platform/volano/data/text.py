"""Texts and JSON from outside: what may stand in a log, a table of tasks and a terminal, and JSON with one meaning.

Pure. `json.loads` alone takes NaN, other encodings, and the last of two equal keys, so that two readers of the same
bytes may read two different things.
"""

import json
import unicodedata
from typing import Any, NoReturn

from volano.errors import Code, ConfigError

_MAX_WORDS = 1000
_WHITESPACE = {"\n", "\t"}
_LAYOUT = {"RLE", "LRE", "RLO", "LRO", "PDF", "RLI", "LRI", "FSI", "PDI"}
"""Bidirectional classes of characters that show a text in another order than it is read."""


def is_plain_text(text: str) -> bool:
    """Whether a text says what it shows: no control characters but newline and tab, no lone surrogates, nothing that
    turns the reading direction."""
    return all(
        character in _WHITESPACE
        or (
            unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"}
            and unicodedata.bidirectional(character) not in _LAYOUT
        )
        for character in text
    )


def words(text: str, what: str) -> str:
    """A person's words, which stay in a record for good; raises ConfigError(E-CONFIG-003) for none, too many, or what
    is no plain text. `what` names them."""
    if not text.strip() or len(text) > _MAX_WORDS or not is_plain_text(text):
        raise ConfigError(
            Code.CONFIG_VALUE, f"{what} is empty, long or no plain text", f"say it in at most {_MAX_WORDS} characters"
        )
    return text


def strict_json(data: bytes) -> object:
    """What UTF-8 JSON says; raises ValueError when a key stands twice or a number is none, RecursionError when it is
    nested too deep."""
    found: object = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    return found


def strict_object(data: bytes) -> dict[str, Any]:
    """The JSON object that stands in a record; raises ValueError for anything else, whatever is wrong with it."""
    try:
        found = strict_json(data)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if not isinstance(found, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 - a reader of records catches one kind
    return found


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
