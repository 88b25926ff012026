"""No key that passes can leave its folder or meet a store's own files; every ordinary key passes."""

import os.path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from volano.errors import Code, StorageError
from volano.storage.keys import RESERVED, check_key, check_prefix

_PIECES = st.sampled_from([".", "/", "a", "\\", "\x00", "\n", "é", "\ud800", "~", RESERVED])
_SHARP = st.lists(_PIECES, max_size=12).map("".join)


def passes(key: str) -> bool:
    try:
        check_key(key)
    except StorageError:
        return False
    return True


@given(_SHARP | st.text())
@example("a/../b")
@example("..")
@example(f"{RESERVED}/x")
@example("x" * 256)
@example("é" * 128)
@example("a/" * 511 + "aaa")
def test_a_key_that_passes_stays_inside_its_folder(key: str) -> None:
    if not passes(key):
        return
    assert os.path.normpath(f"/root/{key}") == f"/root/{key}"
    assert not key.startswith(f"{RESERVED}/")
    assert key != RESERVED
    assert all(ord(character) >= 32 for character in key)
    assert len(key.encode()) <= 1024
    assert all(len(part.encode()) <= 255 for part in key.split("/"))


@given(st.lists(st.from_regex(r"[A-Za-z0-9_=+@-][A-Za-z0-9._=+@-]{0,30}", fullmatch=True), min_size=1, max_size=8))
def test_ordinary_keys_pass(parts: list[str]) -> None:
    assert passes("/".join(parts))


@pytest.mark.parametrize("key", ["", "/", "a/", "/a", "a//b", ".", "a/.", "a/../b", RESERVED, "a\x7f", "\ud800"])
def test_refused(key: str) -> None:
    with pytest.raises(StorageError) as caught:
        check_key(key)
    assert caught.value.code is Code.STORE_KEY


@pytest.mark.parametrize("key", [".gitattributes", "a/.b", "...", "a/..b", f"a/{RESERVED}", "x" * 255, "a b", "tür"])
def test_passes(key: str) -> None:
    assert passes(key)


@given(_SHARP, st.integers(min_value=0, max_value=12))
def test_every_beginning_of_a_key_is_a_prefix(key: str, length: int) -> None:
    if passes(key):
        assert check_prefix(key[:length]) == key[:length]


@pytest.mark.parametrize("prefix", ["../", "a/../", "/", "a//", "a\n", f"{RESERVED}/"])
def test_refused_prefix(prefix: str) -> None:
    with pytest.raises(StorageError) as caught:
        check_prefix(prefix)
    assert caught.value.code is Code.STORE_KEY
