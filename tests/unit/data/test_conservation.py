"""Uploaded = accepted + quarantined + rejected + in flight, over any history of uploads, defects, copies and kills."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.data.bundles import KNOWN, Draft, claims_with, upload, write_bundle
from tests.unit.data.defects import DEFECTS
from tests.unit.data.memory_store import Killed, MemoryStore
from volano.data.conservation import Counts, count
from volano.data.episode import Manifest
from volano.data.finding import Finding
from volano.data.judge import judge
from volano.data.sandbox import Bundle
from volano.data.validate import check_bundle
from volano.data.verdict import Verdict, claim_key, pending, verdict_key
from volano.errors import Code, DataError

_KINDS = (
    "clean",
    "NaN action",
    "truncated video",
    "no language",
    "unknown contract",
    "lost file",
    "other robot",
    "junk",
)
_GARBAGE = (b"", b"{", b"[" * 100_000, b"null", b'{"schema": NaN}', b"\xff\xfe", b"1" * 5000)


def check(bundles: Sequence[Bundle]) -> list[Finding | None]:
    """The real checks without a child: hundreds of histories would start thousands of them."""
    return [check_bundle(bundle.folder, bundle.manifest, bundle.embodiment) for bundle in bundles]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], tuple[Path, Manifest]]:
    """Every kind of bundle with three different contents."""
    made = {}
    for kind in _KINDS[:-2]:
        for seed in range(3):
            folder = tmp_path_factory.mktemp("bundle") / "files"
            own = seed + 10 * _KINDS.index(kind)  # no two kinds share a file, or one's blobs would heal another
            draft = Draft(seed=own, frames=4, first_number=10 * own)
            made[kind, seed] = (
                folder,
                write_bundle(folder, draft) if kind == "clean" else DEFECTS[kind][1](folder, draft),
            )
    return made


def send(
    store: MemoryStore, bundles: dict[tuple[str, int], tuple[Path, Manifest]], kind: str, seed: int, attempt: int
) -> str:
    """Upload as a robot, honest or not, would."""
    name = f"attempt-{attempt:04d}"
    if kind == "junk":
        key = f"uploads/rover-01/{name}.json"
        store.objects.setdefault(key, _GARBAGE[attempt % len(_GARBAGE)])
        return key
    folder, manifest = bundles["clean" if kind == "other robot" else kind, seed]
    if kind == "other robot":
        key = f"uploads/rover-02/{name}.json"
        store.objects.setdefault(key, claims_with(manifest, attempt=name).to_bytes())
        return key
    return upload(store, folder, claims_with(manifest, attempt=name))


def ingest(store: MemoryStore, size: int) -> None:
    """Judge all pending uploads in batches."""
    waiting = pending(store)
    for start in range(0, len(waiting), size):
        judge(store, waiting[start : start + size], KNOWN, check)


events = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(_KINDS), st.integers(0, 2), st.integers(0, 12)),
    st.tuples(st.just("ingest"), st.integers(1, 4), st.one_of(st.none(), st.integers(0, 5)), st.just(0)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(events, max_size=14))
def test_nothing_is_lost_or_counted_twice(
    bundles: dict[tuple[str, int], tuple[Path, Manifest]], history: list[tuple[str, object, object, int]]
) -> None:
    store = MemoryStore()
    sent: dict[str, tuple[str, int]] = {}
    for what, first, second, attempt in history:
        if what == "send":
            key = send(store, bundles, str(first), int(str(second)), attempt)
            sent.setdefault(key, (str(first), int(str(second))))
        else:
            store.lives = None if second is None else int(str(second))
            with suppress(Killed):
                ingest(store, int(str(first)))
            store.lives = None
        counts = count(store)
        assert counts.uploaded == len(sent)
    ingest(store, 3)
    final = count(store)
    before = dict(store.objects)
    ingest(store, 2)
    assert store.objects == before, "a second run changed something"
    assert final.in_flight == 0
    assert final.accepted == len({seed for kind, seed in sent.values() if kind == "clean"})
    clean = sum(kind == "clean" for kind, _ in sent.values())
    assert final.rejected.get(Code.DATA_DUPLICATE, 0) == clean - final.accepted
    assert final.rejected.get(Code.DATA_MANIFEST, 0) == sum(kind == "junk" for kind, _ in sent.values())
    for kind, code in (
        ("NaN action", Code.DATA_NOT_FINITE),
        ("no language", Code.DATA_LANGUAGE),
        ("other robot", Code.DATA_ROBOT),
    ):
        assert final.quarantined.get(code, 0) == sum(name == kind for name, _ in sent.values())


@pytest.mark.parametrize("lives", range(8))
def test_a_kill_after_any_put_is_healed_by_running_again(
    bundles: dict[tuple[str, int], tuple[Path, Manifest]], lives: int
) -> None:
    store, calm = MemoryStore(), MemoryStore()
    for target in (store, calm):
        for attempt, (kind, seed) in enumerate([("clean", 0), ("clean", 0), ("NaN action", 1), ("clean", 2)]):
            send(target, bundles, kind, seed, attempt)
    store.lives = lives
    with suppress(Killed):
        ingest(store, 2)
    store.lives = None
    ingest(store, 2)
    ingest(calm, 4)
    assert store.objects == calm.objects


def test_two_workers_on_one_upload_agree(bundles: dict[tuple[str, int], tuple[Path, Manifest]]) -> None:
    store = MemoryStore()
    keys = [send(store, bundles, "clean", 0, 1), send(store, bundles, "clean", 0, 2)]
    inner: list[list[Verdict]] = []

    def interrupted(batch: Sequence[Bundle]) -> list[Finding | None]:
        inner.append(judge(store, keys[::-1], KNOWN, check))  # another worker overtakes during the check
        return check(batch)

    outer = judge(store, keys, KNOWN, interrupted)
    assert sorted(outer, key=lambda one: one.upload) == sorted(inner[0], key=lambda one: one.upload)
    assert count(store) == Counts(
        uploaded=2, accepted=1, quarantined={}, rejected={Code.DATA_DUPLICATE: 1}, in_flight=0
    )


def test_a_corrected_copy_of_a_quarantined_upload_is_accepted(
    bundles: dict[tuple[str, int], tuple[Path, Manifest]],
) -> None:
    """The same measured content, first without a language instruction, then with one."""
    store = MemoryStore()
    folder, manifest = bundles["clean", 0]
    upload(store, folder, claims_with(manifest, attempt="first", instruction=""))
    ingest(store, 1)
    upload(store, folder, claims_with(manifest, attempt="second"))
    ingest(store, 1)
    assert count(store).accepted == 1


def test_quarantined_bytes_stay(bundles: dict[tuple[str, int], tuple[Path, Manifest]]) -> None:
    store = MemoryStore()
    send(store, bundles, "NaN action", 0, 1)
    before = dict(store.objects)
    ingest(store, 1)
    assert before.items() <= store.objects.items()


@pytest.mark.parametrize("damage", ["upload gone", "claim gone", "verdict moved", "accepted twice"])
def test_a_store_that_lost_something_is_reported(
    bundles: dict[tuple[str, int], tuple[Path, Manifest]], damage: str
) -> None:
    store = MemoryStore()
    key = send(store, bundles, "clean", 0, 1)
    [verdict] = judge(store, [key], KNOWN, check)
    if damage == "upload gone":
        del store.objects[key]
    elif damage == "claim gone":
        del store.objects[claim_key(verdict.content_id)]
    elif damage == "verdict moved":
        store.objects["verdicts/rover-01/other.json"] = store.objects.pop(verdict_key(key))
    else:
        copy = send(store, bundles, "clean", 0, 2)
        plain = {**json.loads(verdict.to_bytes()), "upload": copy}
        store.objects[verdict_key(copy)] = json.dumps(plain).encode()
    with pytest.raises(DataError, match="E-DATA-016"):
        count(store)


def test_a_giant_manifest_is_rejected_unread() -> None:
    store = MemoryStore()
    store.objects["uploads/rover-01/a.json"] = b"[" + b"0," * (4 << 20) + b"0]"
    [verdict] = judge(store, ["uploads/rover-01/a.json"], KNOWN, check)
    assert (verdict.verdict, verdict.code) == ("rejected", Code.DATA_MANIFEST)


def test_the_sandbox_sees_only_what_was_claimed(bundles: dict[tuple[str, int], tuple[Path, Manifest]]) -> None:
    """An object in the store that is longer than the manifest says is not even downloaded."""
    store = MemoryStore()
    key = send(store, bundles, "clean", 0, 1)
    manifest = bundles["clean", 0][1]
    for entry in manifest.files.values():
        store.objects[f"blobs/{entry.sha256}"] += b"more"

    def never(batch: Sequence[Bundle]) -> list[Finding | None]:
        assert not batch
        return []

    [verdict] = judge(store, [key], KNOWN, never)
    assert (verdict.verdict, verdict.code) == ("quarantined", Code.DATA_HASH)


def test_an_upload_that_could_not_be_judged_stays_in_flight(
    bundles: dict[tuple[str, int], tuple[Path, Manifest]],
) -> None:
    store = MemoryStore()
    keys = [send(store, bundles, "clean", seed, seed) for seed in range(2)]

    def interrupted(batch: Sequence[Bundle]) -> list[Finding | None]:
        return [Finding.of(Code.SYSTEM_SANDBOX, "killed"), *check(batch[1:])]

    [verdict] = judge(store, keys, KNOWN, interrupted)
    assert verdict.upload == keys[1]
    assert (count(store).accepted, count(store).in_flight) == (1, 1)
    ingest(store, 2)
    assert (count(store).accepted, count(store).in_flight) == (2, 0)


def test_a_claim_without_a_verdict_is_healed_without_another_look(
    bundles: dict[tuple[str, int], tuple[Path, Manifest]],
) -> None:
    """The claim is the commit: a check that now fails, on a machine out of breath, must not orphan the content."""
    store = MemoryStore()
    key = send(store, bundles, "clean", 0, 1)
    store.lives = 1  # the claim is put, the verdict is not
    with suppress(Killed):
        ingest(store, 1)
    store.lives = None

    def gloomy(batch: Sequence[Bundle]) -> list[Finding | None]:
        return [Finding.of(Code.DATA_DECODER, "slow") for _ in batch]

    [verdict] = judge(store, [key], KNOWN, gloomy)
    assert verdict.verdict == "accepted"
