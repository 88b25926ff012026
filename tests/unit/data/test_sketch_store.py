"""The gate leaves an episode's sketch where a version finds it, and a version is the same with it and without."""

from functools import partial
from pathlib import Path

from tests.unit.data.bundles import ARM, KNOWN, Draft, upload, write_bundle
from tests.unit.data.defects import DEFECTS
from tests.unit.data.memory_store import MemoryStore
from volano.data.build import accepted, build_version
from volano.data.judge import judge
from volano.data.sandbox import Limits, examine_bundles
from volano.data.sketch_store import SKETCHES, sketch_key
from volano.data.verdict import pending


def judged(place: Path) -> MemoryStore:
    """Two sound episodes, a copy of one, and one that was refused; all judged."""
    store = MemoryStore()
    for number, attempt in enumerate(("one", "two", "copy")):
        draft = Draft(attempt=attempt, seed=number % 2, frames=40, embodiment=ARM, robot="arm-01", motion="driven")
        upload(store, place / attempt, write_bundle(place / attempt, draft))
    _, spoil = DEFECTS["NaN action"]
    upload(store, place / "bad", spoil(place / "bad", Draft(attempt="bad")))
    judge(store, pending(store), KNOWN, partial(examine_bundles, limits=Limits()))
    return store


def test_accepted_episodes_have_sketches_and_others_none(tmp_path: Path) -> None:
    store = judged(tmp_path)
    expected = [sketch_key(manifest.content_id) for manifest in accepted(store)]
    assert len(expected) == 2
    assert sorted(info.key for info in store.list(SKETCHES)) == sorted(expected)


def test_a_version_is_the_same_with_the_gates_sketches_and_without(tmp_path: Path) -> None:
    store = judged(tmp_path)
    build = partial(build_version, store, parent="", reason="all", select=lambda _one: 1.0, known=KNOWN)
    kept = {info.key: store.get(info.key) for info in store.list(SKETCHES)}
    first = build()
    for key in kept:
        store.delete(key)
    assert build().id == first.id
    assert {info.key: store.get(info.key) for info in store.list(SKETCHES)} == kept
