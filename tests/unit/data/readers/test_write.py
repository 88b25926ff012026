"""Numbers on their way into a bundle: bit for bit where nothing is converted, rounded once where something is."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.unit.data.bundles import ROVER
from tests.unit.data.readers.reading import convert_here
from tests.unit.data.readers.sources import TRUTHS, document, parsed, write_v3
from volano.data.bundle import MANIFEST_FILE
from volano.data.readers.foreign import Field, ForeignEpisode, Rows, numbered
from volano.data.readers.write import arranged

BITS = arrays(np.uint32, st.tuples(st.integers(1, 8), st.just(2)))
WIDE = arrays(np.float64, st.tuples(st.integers(1, 8), st.just(2)), elements=st.floats(-1e30, 1e30))


def episode(values: Any) -> tuple[ForeignEpisode, Rows]:
    rows = Rows(timestamp=numbered(len(values), 10.0), numbers={"observation.state": values, "action": values})
    fields = {name: Field(width=2, dtype=values.dtype.name, names=("speed", "yaw_rate")) for name in rows.numbers}
    made = ForeignEpisode(
        source="memory",
        frames=len(values),
        rate_hz=10.0,
        started_at=None,
        texts={},
        fields=fields,
        cameras={},
        load=lambda _: rows,
    )
    return made, rows


@given(BITS)
def test_every_float32_stays_what_it_was(bits: Any) -> None:
    """Also the signs of zeros, numbers near zero, infinities and every kind of NaN: the gate judges them."""
    values = bits.view(np.float32)
    made, rows = episode(values)
    swapped = document()
    for number, channel in enumerate(swapped["state"].values()):
        channel["column"] = 1 - number
    mapping = parsed(swapped)
    assert arranged(rows, made, mapping.state, ROVER.state).tobytes() == values[:, ::-1].tobytes()
    assert arranged(rows, made, mapping.action, ROVER.action).tobytes() == values.tobytes()


@given(WIDE, st.sampled_from([1.0, -1.0, 0.5]), st.sampled_from([0.0, 3.0]))
def test_what_is_converted_is_rounded_once(values: Any, scale: float, offset: float) -> None:
    made, rows = episode(values)
    changed = document()
    for channel, unit in zip(changed["state"].values(), ("km/h", "deg/s"), strict=True):
        channel |= {"unit": unit, "scale": scale, "offset": offset}
    found = arranged(rows, made, parsed(changed).state, ROVER.state)
    factors = np.array([1 / 3.6, np.pi / 180])
    assert np.array_equal(found, ((values * scale + offset) * factors).astype(np.float32))


@pytest.mark.parametrize("durable", [True, False])
def test_a_bundle_that_stays_is_on_the_disk_before_its_manifest(
    durable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is sent and removed at once waits for no disk."""
    synced, sync = dict[str, bool](), os.fsync

    def noted(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        folder = path if path.is_dir() else path.parent
        synced.setdefault(path.name, (folder / MANIFEST_FILE).exists())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    source = write_v3(tmp_path / "source", TRUTHS[:1])
    [(bundle, _)] = convert_here(source, document(), tmp_path / "out", durable=durable)
    names = {path.name for path in bundle.iterdir()} - {MANIFEST_FILE}
    assert len(names) > 1
    if durable:
        assert not any(synced[name] for name in {*names, bundle.name}), "the manifest came before them"
    else:
        assert not synced
