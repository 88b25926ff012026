"""A fault at any call to the store, or of any disk on the way, in upload, judge and build: done again, all ends as
without it."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest

from tests.sweeps.conftest import SWEPT
from tests.sweeps.crashes import Effects, in_child, kill
from tests.sweeps.life import carry, differences, live, objects, prepare, record, remains, whole
from tests.unit.data.memory_store import MemoryStore
from volano.data.bundle import UPLOADED_FILE
from volano.data.catalogue import extend
from volano.data.conservation import count
from volano.errors import Code, StorageError, VolanoError
from volano.storage.store import ObjectInfo

_PARTS = 2
_LEAST_CALLS, _LEAST_EFFECTS = 40, 400
Result = TypeVar("Result")


def silent(_line: str) -> None:
    """Nobody listens."""


class FaultyStore(MemoryStore):
    """The calls from the k-th on, `times` of them, fail with a code; `after` they took effect, or before."""

    def __init__(self, position: int, code: Code, *, times: int, after: bool) -> None:
        super().__init__()
        self.position, self.code, self.times, self.after = position, code, times, after
        self.calls: list[str] = []

    def put_new(self, key: str, data: bytes) -> bool:
        return self._call("put_new", partial(super().put_new, key, data))

    def get(self, key: str) -> bytes:
        return self._call("get", partial(super().get, key))

    def exists(self, key: str) -> bool:
        return self._call("exists", partial(super().exists, key))

    def size(self, key: str) -> int | None:
        return self._call("size", partial(super().size, key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        found = super().list
        return iter(self._call("list", lambda: [*found(prefix)]))

    def _call(self, name: str, call: Callable[[], Result]) -> Result:
        self.calls.append(name)
        if self.position <= len(self.calls) < self.position + self.times:
            if self.after:
                call()
            raise StorageError(self.code, f"{name} failed", "again")
        return call()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("robot")
    record(place, silent)
    return place


def run(disk: Path, store: MemoryStore) -> None:
    """As often as it takes, from a disk that has sent nothing."""
    for marker in disk.glob(f"*/{UPLOADED_FILE}"):
        marker.unlink()
    for _ in range(10):
        with suppress(VolanoError):
            carry(disk, store, silent)
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize(
    ("code", "times", "after"),
    [
        (Code.STORE_UNAVAILABLE, 1, False),
        (Code.STORE_UNAVAILABLE, 1, True),
        (Code.STORE_UNAVAILABLE, 8, False),
        (Code.STORE_UNAVAILABLE, 8, True),
        (Code.STORE_FULL, 1, False),
        (Code.STORE_CORRUPT, 1, False),
        (Code.STORE_MISSING, 1, False),
    ],
)
def test_a_fault_at_any_call_changes_nothing(
    disk: Path, code: Code, times: int, after: bool, record_property: Callable[[str, object], None]
) -> None:
    calm = FaultyStore(0, code, times=0, after=after)
    run(disk, calm)
    assert {"put_new", "get", "exists", "size", "list"} == set(calm.calls)
    calls = len(calm.calls)
    for position in range(1, calls + 1):
        store = FaultyStore(position, code, times=times, after=after)
        run(disk, store)
        store.position, store.times = 0, 0
        extend(store)  # of what could not be read a row is written by the next run
        assert count(store).in_flight == 0
        assert not (left := differences(objects(store), objects(calm))), f"call {position}: {left}"
    record_property(SWEPT, f"{calls} faults")
    assert calls >= _LEAST_CALLS


@pytest.mark.slow
@pytest.mark.parametrize("part", range(_PARTS))
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_at_any_effect_changes_nothing(
    tmp_path: Path, number: int, part: int, record_property: Callable[[str, object], None]
) -> None:
    """Of the robot's disk, of the scratch space and of the store's."""

    def fail(*_arguments: Any) -> NoReturn:
        raise OSError(number, os.strerror(number))

    def sweep() -> None:
        counting, failed = Effects(0, kill), 0
        with counting.watched():
            live(prepare(tmp_path / "calm"), silent)
        expected = remains(tmp_path / "calm")
        for position in range(1 + part, counting.seen + 1, _PARTS):
            place, told, effects = prepare(tmp_path / "place"), list[str](), Effects(position, fail)
            with suppress(OSError, VolanoError), effects.watched():
                live(place, told.append)
            whole(place, told)
            with Effects(0, kill).watched():  # the tests need not wait for the disk
                live(place, silent)
            assert not (left := differences(remains(place), expected)), f"effect {position}: {left}"
            shutil.rmtree(place)
            failed += 1
        (tmp_path / "failed").write_text(str(failed))

    assert in_child(sweep) == 0, "see the traceback above"
    failed = int((tmp_path / "failed").read_text())
    record_property(SWEPT, f"{failed} failures of the disk")
    assert failed * _PARTS >= _LEAST_EFFECTS
