"""The reader of pickles makes what the stock client sends, and of anything else nothing but a refusal."""

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.inference.protocols.hostile_pickles import TIMED, acting, array, bombs, foreign
from tests.unit.inference.protocols.lerobot_frames import observation, observations, pickled, raw
from volano.errors import Code, WireError
from volano.inference.protocols.pickles import Record, read_pickle

_MANY = 1 << 20
_RECORDS = {".".join(TIMED): frozenset(("timestamp", "timestep", "observation", "must_go"))}


def read(data: bytes) -> Any:
    return read_pickle(data, _RECORDS, _MANY)


def refusal(data: bytes) -> WireError:
    with pytest.raises(WireError) as caught:
        read(data)
    return caught.value


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize(
    "value",
    [
        None,
        {"a": [1, -2, 300, 70_000, -(2**40), 0.5, True, False], "b": (("x",), (), ("y", 2), (1, 2, 3, 4))},
        ["é" * 300, {}, [], [[1]], -(2**63)],
    ],
)
def test_plain_values_come_back(value: object, protocol: int) -> None:
    assert read(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize(
    "sent",
    [
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.asfortranarray(np.arange(24, dtype=np.uint8).reshape(4, 3, 2)),
        np.arange(24, dtype=np.int16).reshape(4, 6)[::2, ::3],
        np.array([True, False]),
        np.zeros((0, 3), np.float64),
        np.array(2.5, np.float16),
    ],
)
def test_arrays_come_back_and_cannot_be_written(sent: Any, protocol: int) -> None:
    got = read(pickle.dumps({"x": sent}, protocol))["x"]
    assert (got.dtype, got.shape, got.tobytes()) == (sent.dtype, sent.shape, sent.tobytes())
    assert not got.flags.writeable
    assert got.flags.c_contiguous


@pytest.mark.parametrize("number", [np.float32(1.5), np.float64(-2), np.int64(2**40), np.uint8(255), np.True_])
def test_numbers_of_numpy_come_back(number: Any) -> None:
    got = read(pickle.dumps([number, number]))[1]
    assert (type(got), got) == (type(number), number)


def test_a_record_is_its_fields_and_says_nothing_of_them() -> None:
    value = read(pickled(observation()))
    assert isinstance(value, Record)
    assert value.fields is not None
    assert value.fields["observation"]["front"].tobytes() == raw()["front"].tobytes()
    assert "pick the ball" not in repr(value)


def test_pythons_own_unpickler_carries_these_out(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for label, data in acting(canary):
        pickle.loads(data)
        assert canary.exists(), label
        canary.unlink()


def test_no_gadget_does_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = tmp_path / "canary"
    found = {label: refusal(data) for label, data in acting(canary)}
    loaded = set(sys.modules)
    monkeypatch.setattr(os, "system", None)
    found |= {label: refusal(data) for label, data in foreign()}
    assert not canary.exists()
    assert len(found) > 70
    assert {label: error.code for label, error in found.items() if error.code is not Code.WIRE_FRAME} == {}
    assert "os.system" in found["STACK_GLOBAL"].cause
    assert not any(str(tmp_path) in error.cause for error in found.values()), "a refusal repeats what was sent"
    assert set(sys.modules) == loaded, "a pickle made us import something"


@pytest.mark.parametrize(
    ("shape", "size", "kind", "order"),
    [
        ((2, 3), 7, "u1", "|"),
        ((2**40,), 8, "u1", "|"),
        ((-1, -6), 6, "u1", "|"),
        ((2**62, 4), 0, "u1", "|"),
        ((1, 1, 1, 1, 1, 1), 1, "u1", "|"),
        ((3,), 6, "u2", ">"),
        ((3,), 6, "u2", "|"),
        ((3,), 6, "u2", "="),
        ((1,), 1, "O", "|"),
        ((1,), 8, "O8", "|"),
        ((1,), 8, "M8", "<"),
        ((6,), 6, "V1", "|"),
        ((6,), 6, "S1", "|"),
        ((6,), 6, "u1,u1", "|"),
    ],
)
def test_an_array_is_what_its_shape_and_type_say(shape: tuple[int, ...], size: int, kind: str, order: str) -> None:
    assert read(array((2, 3), 6)).tolist() == [[1] * 3] * 2
    assert refusal(array(shape, size, kind, order)).code in (Code.WIRE_FRAME, Code.WIRE_LIMIT)


@pytest.mark.parametrize("kind", dict(bombs()))
def test_what_would_become_large_is_refused(kind: str) -> None:
    assert refusal(dict(bombs())[kind]).code is Code.WIRE_LIMIT


@pytest.mark.parametrize("label", dict(observations()))
def test_a_torn_pickle_is_refused_wherever_it_ends(label: str) -> None:
    data = dict(observations())[label]
    assert isinstance(read(data), Record)
    assert {refusal(data[:end]).code for end in range(len(data))} == {Code.WIRE_FRAME}
