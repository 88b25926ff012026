"""Features of real bundles, made in the sandbox's child: once, whatever is killed, and believed only when sound."""

import json
from typing import Any

import pytest

from tests.unit.data.bundles import ARM, KNOWN, Draft, upload, write_bundle
from tests.unit.data.memory_store import Killed, MemoryStore
from tests.unit.data.quarantined import check
from volano.data.build import accepted
from volano.data.curation import make as making
from volano.data.curation.carry_out import carry_out, propose, to_curate
from volano.data.curation.config import Curation
from volano.data.curation.features import Features
from volano.data.curation.make import features_key, make, missing, read_features
from volano.data.curation.plan import load, plan_key
from volano.data.judge import judge
from volano.data.recall import Recall, recall_key
from volano.data.sandbox import Limits
from volano.data.verdict import pending
from volano.errors import ContractError, DataError, StorageError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The objects of a store with four accepted episodes, of which the last two are one motion sent by two robots."""
    store, folder = MemoryStore(), tmp_path_factory.mktemp("bundles")
    for number, (seed, robot) in enumerate([(0, "arm-01"), (1, "arm-01"), (2, "arm-01"), (2, "arm-02")]):
        draft = Draft(seed=seed, robot=robot, attempt=f"attempt-{number}", frames=24, embodiment=ARM, motion="driven")
        upload(store, folder / str(number), write_bundle(folder / str(number), draft))
    judge(store, pending(store), KNOWN, check)
    contents = [one.content_id for one in accepted(store)]
    assert len(contents) == 4
    assert make(store, contents, KNOWN) == []
    return store.objects


@pytest.fixture
def store(whole: dict[str, bytes]) -> MemoryStore:
    made = MemoryStore()
    made.objects = dict(whole)
    return made


def without_features(store: MemoryStore) -> list[str]:
    """Take the features out; the contents that lack them."""
    for key in [info.key for info in store.list("features/")]:
        store.delete(key)
    return missing(store, accepted(store))


def test_features_are_made_once_and_again_they_are_the_same(store: MemoryStore) -> None:
    before = dict(store.objects)
    assert missing(store, accepted(store)) == []
    contents = without_features(store)
    assert len(contents) == 4
    assert make(store, contents, KNOWN) == []
    assert store.objects == before


def test_a_kill_costs_what_was_not_stored(store: MemoryStore) -> None:
    contents, before = without_features(store), None
    store.lives = 1
    with pytest.raises(Killed):
        make(store, contents[:2], KNOWN)
    store.lives, before = None, dict(store.objects)
    assert missing(store, accepted(store)) == contents[1:]
    make(store, contents[1:2], KNOWN)
    assert before.items() <= store.objects.items()


def test_an_episode_that_its_child_dies_of_is_told_and_costs_no_other(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = without_features(store)
    monkeypatch.setattr(making, "LIMITS", Limits(answer_bytes=100))
    [failed] = make(store, contents[:1], KNOWN)
    assert failed.code == "E-DATA-100"
    assert "volano data recall --upload arm-0" in failed.fix
    with pytest.raises(DataError, match="E-DATA-100"):
        propose(store, to_curate(store), Curation(), KNOWN)


def test_bytes_that_are_not_the_accepted_ones_are_never_decoded(store: MemoryStore) -> None:
    contents = without_features(store)
    for key in [info.key for info in store.list("blobs/")]:
        store.objects[key] = bytes(len(store.objects[key]))
    with pytest.raises(StorageError, match="E-STORE-007"):
        make(store, contents, KNOWN)
    with pytest.raises(ContractError, match="E-CONTRACT-002"):
        make(store, contents, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("definition", "0"),
        ("content_id", "0" * 64),
        ("occupancy", [0.0]),
        ("occupancy", [1e400] * 256),
        ("occupancy", ["x"] * 256),
        ("state", []),
        ("state", [[0.0] * 4] * 65),
        ("action", [[0.0] * 4]),
        ("pictures", [["0"] * 16]),
        ("pictures", [["g" * 16] * 16] * 2),
        ("pictures", [["f" * 17] * 16] * 2),
        ("smoothness", None),
        ("smoothness", float("nan")),
        ("still", [[0, 25]]),
        ("still", [[3, 2]]),
        ("still", 7),
        ("more", 1),
    ],
)
def test_features_that_are_not_sound_are_refused(store: MemoryStore, name: str, value: Any) -> None:
    manifest = accepted(store)[0]
    key = features_key(manifest.content_id)
    plain = {**json.loads(store.get(key)), name: value}
    with pytest.raises(DataError, match="E-DATA-100"):
        Features.from_json(plain, manifest, ARM)
    for damaged in (b"", b"[" * 100_000, json.dumps(plain).encode()):
        store.objects[key] = damaged
        with pytest.raises(DataError, match="E-DATA-100"):
            read_features(store, manifest, ARM)


def test_a_plan_becomes_one_version_that_names_it(store: MemoryStore) -> None:
    before = dict(store.objects)
    plan = propose(store, to_curate(store), Curation(), KNOWN)
    assert store.objects == before
    assert plan.counts() == {"kept": 3, "near duplicate": 1}
    version = carry_out(store, plan, parent="", known=KNOWN)
    assert version.reason == f"curation {plan.id}"
    assert load(store, plan.id[:12]) == plan
    assert {one.content_id: one.weight for one in version.episodes} == {
        content: one.weight for content, one in plan.kept.items()
    }
    after = dict(store.objects)
    assert carry_out(store, propose(store, to_curate(store), Curation(), KNOWN), parent="", known=KNOWN) == version
    assert store.objects == after


@pytest.mark.parametrize("lives", [0, 1, 4])
def test_a_killed_curation_ends_as_an_undisturbed_one(store: MemoryStore, lives: int) -> None:
    calm = MemoryStore()
    calm.objects = dict(store.objects)
    plan = propose(store, to_curate(store), Curation(), KNOWN)
    store.lives = lives
    with pytest.raises(Killed):
        carry_out(store, plan, parent="", known=KNOWN)
    store.lives = None
    for one in (store, calm):
        carry_out(one, plan, parent="", known=KNOWN)
    assert store.objects == calm.objects


def test_what_was_recalled_is_in_no_plan(store: MemoryStore) -> None:
    first = to_curate(store)[0].content_id
    recall = Recall(contents=(first,), reason="why", by="ada", at=1.0)
    store.put_new(recall_key(recall.id), recall.to_bytes())
    plan = propose(store, to_curate(store), Curation(), KNOWN)
    assert first not in {one.content_id for one in plan.decisions}


def test_a_plan_that_is_not_there_or_was_changed_is_said(store: MemoryStore) -> None:
    plan = propose(store, to_curate(store), Curation(), KNOWN)
    for nobody in ("", "zz", plan.id):
        with pytest.raises(DataError, match="E-DATA-101"):
            load(store, nobody)
    store.objects[plan_key(plan.id)] = b"{}"
    with pytest.raises(StorageError, match="E-STORE-007"):
        load(store, plan.id)


def test_several_newest_versions_need_a_name(store: MemoryStore) -> None:
    plan = propose(store, to_curate(store), Curation(), KNOWN)
    heavier = propose(store, to_curate(store), Curation(floor=2), KNOWN)
    first = carry_out(store, plan, parent="", known=KNOWN)
    child = carry_out(store, heavier, parent="", known=KNOWN)
    assert child.parent == first.id
    sibling = carry_out(store, heavier, parent=child.id, known=KNOWN)
    assert sibling.parent == child.id
    carry_out(store, heavier, parent=first.id, known=KNOWN)
    third = propose(store, to_curate(store), Curation(floor=3), KNOWN)
    carry_out(store, third, parent=first.id, known=KNOWN)
    with pytest.raises(DataError, match="E-DATA-101"):
        carry_out(store, propose(store, to_curate(store), Curation(floor=4), KNOWN), parent="", known=KNOWN)


def test_an_empty_store_has_nothing_to_curate() -> None:
    with pytest.raises(DataError, match="E-DATA-101"):
        to_curate(MemoryStore())
