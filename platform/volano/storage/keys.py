"""Which object keys are allowed: one pure rule for every store.

A valid key can neither leave a folder that holds objects nor meet the files a store keeps for itself.
"""

import unicodedata

from volano.errors import Code, StorageError

RESERVED = ".partial"
"""First part that no key may have: the folder store writes unfinished objects under it."""
_MAX_KEY_BYTES = 1024
_MAX_PART_BYTES = 255


def check_key(key: str) -> str:
    """The key itself; raises StorageError(E-STORE-005) unless it is relative, `/`-separated, without empty, `.` or
    `..` parts, without control characters or lone surrogates, and at most 1024 bytes with parts of 255 in UTF-8."""
    parts = key.split("/")
    problem = _text_problem(key) or next((found for part in parts if (found := _part_problem(part))), "")
    if problem or parts[0] == RESERVED:
        raise _refused(key, problem or f"the name {RESERVED!r} is reserved")
    return key


def is_key(text: str) -> bool:
    """Whether `check_key` would let it pass."""
    try:
        check_key(text)
    except StorageError:
        return False
    return True


def check_prefix(prefix: str) -> str:
    """The prefix itself; raises StorageError(E-STORE-005) unless some valid key could start with it."""
    *parts, _last = prefix.split("/")
    problem = _text_problem(prefix) or next((found for part in parts if (found := _part_problem(part))), "")
    if problem or parts[:1] == [RESERVED]:
        raise _refused(prefix, problem or f"the name {RESERVED!r} is reserved")
    return prefix


def _text_problem(text: str) -> str:
    plain = text.isascii() and text.isprintable()  # as nearly every key of a long listing is
    if not plain and any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        return "it has a control character or a lone surrogate"
    if len(text.encode()) > _MAX_KEY_BYTES:
        return f"it is longer than {_MAX_KEY_BYTES} bytes"
    return ""


def _part_problem(part: str) -> str:
    if part in {"", ".", ".."}:
        return f"it has the part {part!r}"
    if len(part.encode()) > _MAX_PART_BYTES:
        return f"it has a part longer than {_MAX_PART_BYTES} bytes"
    return ""


def _refused(text: str, problem: str) -> StorageError:
    shown = text if len(text) <= 80 else f"{text[:80]}..."
    return StorageError(Code.STORE_KEY, f"the key {shown!r} is refused: {problem}", "choose a key as `a/b/c`")
