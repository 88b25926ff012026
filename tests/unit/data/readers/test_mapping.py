"""A mapping says everything, or is refused with what is wrong and the nearest name that is right."""

import copy
import json
import math
from typing import Any

import pytest

from tests.unit.data.bundles import ROVER
from tests.unit.data.readers.sources import document, parsed
from volano.data.readers.mapping import Mapping, SuccessOf
from volano.data.readers.units import factor
from volano.errors import Code, DataError


def changed(path: str, value: Any) -> dict[str, Any]:
    """The document with one value replaced, or removed by None."""
    made = copy.deepcopy(document())
    *parents, last = path.split("/")
    here = made
    for parent in parents:
        here = here[parent]
    if value is None:
        del here[last]
    else:
        here[last] = value
    return made


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("schema", "volano.mapping.2", "schema is 'volano.mapping.2'"),
        ("dataset", "../x", "plain name"),
        ("dataset", None, "dataset is not a short text"),
        ("camera", {}, "camera is unknown; did you mean 'cameras'?"),
        ("task", "\x1b[2J", "task is not a short text"),
        ("instruction", {"text": "a", "field": "b"}, "either `text` or `field`"),
        ("instruction", "go", "instruction is not an object"),
        ("outcome/source", "guess", "outcome.source is 'guess', not one of: operator"),
        ("outcome/success", 1, "outcome.success is not an object"),
        ("started_at", -1, "started_at is not positive"),
        ("started_at", "today", "started_at is not a number"),
        ("rate_hz", 0, "rate_hz is not positive"),
        ("clock", {"topic": "/x"}, "max_age_s is missing"),
        ("cameras/ego/fit", "squeeze", "cameras.ego.fit"),
        ("cameras/egg", {"field": "x"}, "'egg', which the contract has not; did you mean 'ego'?"),
        ("cameras/rear", None, "cameras.rear of the contract is missing"),
        ("state/speed/unit", None, "state.speed.unit is not a short text"),
        ("state/speed/unit", "furlong", "state.speed is in 'furlong', which cannot be brought to 'm/s'"),
        ("state/speed/unit", "rad/s", "cannot be brought"),
        ("state/speed/column", -1, "state.speed.column"),
        ("state/speed/column", True, "state.speed.column"),
        ("action/speed/scal", 2, "action.speed.scal is unknown; did you mean 'scale'?"),
        ("action", [], "action is not an object"),
    ],
)
def test_refused(path: str, value: Any, says: str) -> None:
    with pytest.raises(DataError) as caught:
        parsed(changed(path, value))
    assert says in caught.value.cause
    assert caught.value.code == Code.DATA_MAPPING


@pytest.mark.parametrize(
    "text", [b"", b"[]", b'{"a": 1, "a": 2}', b"{'a'}", b'{"rate_hz": NaN}', b"\xff", b"[" * 100_000]
)
def test_not_a_document(text: bytes) -> None:
    with pytest.raises(DataError) as caught:
        Mapping.from_bytes(text)
    assert caught.value.code == Code.DATA_MAPPING


def test_everything_that_is_needed_is_named() -> None:
    made = document(outcome={"success": {"field": "reward", "column": "total", "when": "end"}, "source": "script"})
    mapping = Mapping.from_bytes(json.dumps(made).encode())
    mapping.require_fits(ROVER)
    assert isinstance(mapping.success, SuccessOf)
    assert (mapping.success.at_least, mapping.success.when) == (1.0, "end")
    assert mapping.fields == {"observation.state", "action", "reward"}


@pytest.mark.parametrize(
    ("foreign", "ours", "value"),
    [
        ("m/s", "m/s", 1.0),
        ("N", "N", 1.0),
        ("deg", "rad", math.pi / 180),
        ("rad", "deg", 180 / math.pi),
        ("km/h", "m/s", 1 / 3.6),
        ("%", "1", 0.01),
        ("deg", "rad/s", None),
        ("N", "m", None),
    ],
)
def test_units(foreign: str, ours: str, value: float | None) -> None:
    found = factor(foreign, ours)
    assert found is None if value is None else found == pytest.approx(value, rel=1e-15)
