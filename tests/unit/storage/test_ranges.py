"""A part of an object is that part; what is not there, or ends too early, says so."""

from pathlib import Path

import pytest

from volano.errors import Code, StorageError
from volano.storage.open import open_store
from volano.storage.ranges import Ranges, open_ranges

DATA = bytes(range(256)) * 40


def require_ranges(ranges: Ranges) -> None:
    """What every store's ranges do; `a/b` holds DATA."""
    parts = [(0, 1), (5000, 300), (1, 2), (5300, 10), (0, len(DATA)), (len(DATA) - 1, 1)]
    for asked in (parts, parts[:1]):
        assert ranges.read("a/b", asked) == [DATA[offset : offset + size] for offset, size in asked]
    missing, short = Code.STORE_MISSING, Code.STORE_CORRUPT
    for key, *wrong, code in (
        ("a/c", (0, 2), missing),
        ("a/b", (len(DATA) - 1, 2), short),
        ("a/b", (len(DATA) + 9, 2), short),
        ("a/b", (len(DATA) - 9, 10), (len(DATA) + 1, 2), short),  # they touch, and it ends before the second one
    ):
        with pytest.raises(StorageError) as refused:
            ranges.read(key, [(0, 1), *wrong])
        assert refused.value.code is code
    with pytest.raises(StorageError, match="E-STORE-005"):
        ranges.read("../a", [(0, 1)])


def test_parts_of_files(tmp_path: Path) -> None:
    open_store(str(tmp_path)).put_new("a/b", DATA)
    require_ranges(open_ranges(str(tmp_path)))


def test_a_link_is_no_object(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "secret").write_bytes(DATA)
    (tmp_path / "store" / "a").symlink_to(tmp_path / "secret")
    (tmp_path / "store" / "b").symlink_to(tmp_path)
    for key in ("a", "b/secret"):
        with pytest.raises(StorageError, match="E-STORE-006"):
            open_ranges(str(tmp_path / "store")).read(key, [(0, 1)])
