"""A sketch survives its record bit for bit; any other record is refused."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.unit.data.sketches import Rows, manifest_of, sketch_of
from volano.data.levels import levels_text
from volano.data.sketch_record import from_bytes, to_bytes
from volano.embodiment.shipped import CAR, GLIDER
from volano.storage.content import canonical_json, sha256_bytes

REFUSED = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
ROWS = np.linspace(-4, 19, 40, dtype=np.float32).reshape(10, 4)
Change = Callable[[Any], object]


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 20), st.just(4)),
        elements=st.floats(-(2.0**96), 2.0**96, width=32),
    )
)
def test_a_record_is_read_back_as_it_was(rows: Rows) -> None:
    sketch = sketch_of("one", rows)
    data = to_bytes(sketch)
    found = from_bytes(data, manifest_of("one", len(rows)), CAR)
    assert to_bytes(found) == data
    assert (found.state.totals, found.state.squares) == (sketch.state.totals, sketch.state.squares)
    assert np.array_equal(found.state.histogram, sketch.state.histogram)
    assert found.state.histogram.sum(axis=1).tolist() == [len(rows)] * 4


def test_a_record_is_small() -> None:
    rows = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    assert len(to_bytes(sketch_of("one", rows))) < 20_000


def altered(change: Change, *, honest: bool = True) -> bytes:
    """The record with something else in it; `honest` gives it the hash of that."""
    plain = json.loads(to_bytes(sketch_of("one", ROWS)))
    change(plain["body"])
    if honest:
        plain["sha256"] = sha256_bytes(canonical_json(plain["body"]))
    return canonical_json(plain)


def levels(each: list[int]) -> str:
    """Every value of a colour occurs so often."""
    return levels_text(np.repeat(np.array(each, np.int64)[:, None], 256, axis=1))


CHANGES: list[Change] = [
    lambda body: body.update(rows=11),
    lambda body: body.update(rows=True),
    lambda body: body.update(content_id="0" * 64),
    lambda body: body.update(embodiment=GLIDER.fingerprint),
    lambda body: body.update(schema="volano.sketch.0"),
    lambda body: body.pop("action"),
    lambda body: body.update(state=[]),
    lambda body: body["state"].update(more=[0] * 4),
    lambda body: body["state"]["totals"].pop(),
    lambda body: body["state"]["totals"].__setitem__(0, "f" * 80),
    lambda body: body["state"]["totals"].__setitem__(0, "0x10"),
    lambda body: body["state"]["totals"].__setitem__(0, "1" * 201),
    lambda body: body["state"]["totals"].__setitem__(0, 5),
    lambda body: body["state"]["squares"].__setitem__(1, "0"),
    lambda body: body["state"]["low"].__setitem__(0, -5.0),
    lambda body: body["state"]["low"].__setitem__(0, 0.1),
    lambda body: body["state"]["high"].__setitem__(0, None),
    lambda body: body["state"]["histogram"].__setitem__(0, []),
    lambda body: body["state"]["histogram"].__setitem__(0, [[1, 10]]),
    lambda body: body["state"]["histogram"].__setitem__(0, [[5000, 10]]),
    lambda body: body["state"]["histogram"].__setitem__(0, [[-1, 10]]),
    lambda body: body["state"]["histogram"].__setitem__(0, [[7, 5], [7, 5]]),
    lambda body: body["state"]["histogram"].__setitem__(0, [[7, -5], [8, 15]]),
    lambda body: body["state"]["histogram"].__setitem__(0, 7),
    lambda body: body["cameras"].update(rear=levels([1, 1, 1])),
    lambda body: body["cameras"].update(ego=levels([1, 1])),
    lambda body: body["cameras"].update(ego=levels([1, 1, 2])),
    lambda body: body["cameras"].update(ego=levels([0, 0, 0])),
    lambda body: body["cameras"].update(ego=levels([1, 1, 1])[:-4]),
    lambda body: body["cameras"].update(ego="*" + levels([1, 1, 1])),
    lambda body: body["cameras"].update(ego=[[1] * 256] * 3),
    lambda body: body["state"]["histogram"].__setitem__(0, [[7, 10.0]]),
    lambda body: body["state"]["histogram"].__setitem__(0, [[7, 10], [8]]),
    lambda body: body["state"]["histogram"].__setitem__(0, [[7, 1 << 70]]),
]


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_a_record_that_contradicts_itself_is_refused(number: int) -> None:
    with pytest.raises(REFUSED):
        from_bytes(altered(CHANGES[number]), manifest_of("one", 10), CAR)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_stands_in_a_record_is_refused_by_name(data: st.DataObject) -> None:
    """No other exception leaves the reader, wherever what was planted."""

    def plant(body: Any) -> None:
        place = body
        while True:
            key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
                place[key] = data.draw(JSON)
                return
            place = place[key]

    with suppress(*REFUSED):
        from_bytes(altered(plant), manifest_of("one", 10), CAR)


def test_a_record_of_another_hash_is_refused() -> None:
    from_bytes(altered(lambda _body: None), manifest_of("one", 10), CAR)
    data = altered(lambda body: body.update(more=1), honest=False)
    with pytest.raises(ValueError, match="another hash"):
        from_bytes(data, manifest_of("one", 10), CAR)


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"body": {}, "sha256": ""}', b'{"body": 1, "body": 2}'],
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(REFUSED):
        from_bytes(data, manifest_of("one", 10), CAR)
