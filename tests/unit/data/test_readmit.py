"""A person lets an upload in: against what may be overruled only, once per content, whatever dies in between."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.data.bundles import KNOWN, Draft, claims_with, upload, write_bundle
from tests.unit.data.defects import DEFECTS
from tests.unit.data.dying_store import DyingStore
from tests.unit.data.memory_store import Killed, MemoryStore
from tests.unit.data.quarantined import check, lax, paused, send_paused
from volano.data.build import accepted, build_version
from volano.data.catalogue import extend
from volano.data.conservation import count
from volano.data.episode import Manifest
from volano.data.judge import judge
from volano.data.quarantine import held as held_uploads
from volano.data.readmission import Readmission, readmission_key
from volano.data.readmit import READMITTED, propose, readmit
from volano.data.recall import Recall, recall_key
from volano.data.remedies import REMEDIES, remedy
from volano.data.sandbox import Limits, check_bundles
from volano.data.verdict import owner, pending
from volano.errors import Code, ConfigError, DataError, StorageError
from volano.ledger.audit import AuditRow
from volano.ledger.ledger import Ledger, open_ledger
from volano.storage.folder import FolderStore
from volano.storage.store import ObjectStore

DRAFT = Draft(frames=4)
OTHER = "uploads/rover-01/other.json"


def proposed(
    store: ObjectStore, key: str, *also: str, reason: str = "the robot was held", by: str = "ada"
) -> Readmission:
    return propose(store, key, also=also, reason=reason, by=by, now=5.0, known=KNOWN, check=check)


def let_in(store: ObjectStore, key: str, *also: str, ledger: Ledger | None = None) -> Readmission:
    return readmit(store, ledger, proposed(store, key, *also))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def held(store: MemoryStore, tmp_path: Path) -> str:
    """An upload in quarantine for a long pause."""
    key = send_paused(store, tmp_path / "held", DRAFT)
    [verdict] = judge(store, [key], KNOWN, check)
    assert (verdict.verdict, verdict.code) == ("quarantined", Code.DATA_CLOCK)
    return key


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


def audit(ledger: Ledger) -> list[AuditRow]:
    return [row for row in ledger.audit() if row.kind == READMITTED]


def test_a_readmitted_upload_counts_as_accepted_and_is_in_the_next_version(store: MemoryStore, held: str) -> None:
    before = dict(store.objects)
    done = let_in(store, held)
    assert before.items() <= store.objects.items(), "something was overwritten"
    assert (done.codes, done.by, done.reason, done.at) == ((Code.DATA_CLOCK,), "ada", "the robot was held", 5.0)
    assert Readmission.from_bytes(store.get(readmission_key(held))) == done
    counts = count(store)
    assert (counts.uploaded, counts.accepted, counts.quarantined) == (1, 1, {})
    version = build_version(store, parent="", reason="first", select=lambda _: 1.0, known=KNOWN)
    assert [episode.content_id for episode in version.episodes] == [done.content_id]


def test_the_first_who_decides_stands_and_the_audit_tells_it_once(
    store: MemoryStore, held: str, ledger: Ledger
) -> None:
    first = let_in(store, held, ledger=ledger)
    before = dict(store.objects)
    again = readmit(store, ledger, proposed(store, held, reason="another reason", by="bob"))
    assert (again, store.objects) == (first, before)
    [row] = audit(ledger)
    assert (row.actor, row.at) == ("ada", 5.0)
    assert held in row.payload


@pytest.mark.parametrize("kind", [kind for kind, (code, _) in DEFECTS.items() if not remedy(code).overrulable])
def test_what_is_wrong_with_the_bytes_cannot_be_overruled(store: MemoryStore, tmp_path: Path, kind: str) -> None:
    code, write = DEFECTS[kind]
    key = upload(store, tmp_path / "bundle", write(tmp_path / "bundle", Draft()))
    judge(store, [key], KNOWN, check)
    before = dict(store.objects)
    with pytest.raises(DataError, match="E-DATA-070") as caught:
        proposed(store, key)
    if list(held_uploads(store, code=code)):  # the others were rejected
        assert caught.value.fix == REMEDIES[code].fix
    assert store.objects == before


def test_the_verdict_tells_one_finding_and_the_others_are_still_looked_for(store: MemoryStore, tmp_path: Path) -> None:
    beyond = send_paused(store, tmp_path / "beyond", replace(DRAFT, attempt="beyond"), action=2.1)
    broken = send_paused(store, tmp_path / "broken", replace(DRAFT, attempt="broken"), action=float("nan"))
    judge(store, [beyond, broken], KNOWN, check)
    with pytest.raises(DataError, match="another finding, E-DATA-004") as caught:
        proposed(store, beyond)
    assert "--also E-DATA-004" in caught.value.fix
    with pytest.raises(DataError, match="another finding, E-DATA-003"):
        proposed(store, broken)
    with pytest.raises(DataError, match="nobody can overrule E-DATA-003"):
        proposed(store, broken, Code.DATA_NOT_FINITE)
    assert let_in(store, beyond, Code.DATA_LIMITS).codes == (Code.DATA_CLOCK, Code.DATA_LIMITS)
    assert count(store).accepted == 1


def test_the_sandbox_leaves_out_what_is_overruled_and_nothing_else(store: MemoryStore, tmp_path: Path) -> None:
    found = []
    for name, also in (("sound", {}), ("broken", {"state": float("inf")})):
        key = send_paused(store, tmp_path / name, replace(DRAFT, attempt=name), **also)
        judge(store, [key], KNOWN, check)
        try:
            found.append(
                propose(
                    store,
                    key,
                    also=(),
                    reason="why",
                    by="ada",
                    now=1.0,
                    known=KNOWN,
                    check=lambda bundles: check_bundles(bundles, Limits()),
                ).upload
            )
        except DataError as error:
            found.append(error.cause)
    assert found[0].endswith("/sound.json")
    assert "another finding, E-DATA-003" in found[1]


def test_bytes_that_are_gone_are_noticed(store: MemoryStore, held: str) -> None:
    del store.objects[next(key for key in store.objects if key.startswith("blobs/"))]
    with pytest.raises(DataError, match="another finding, E-DATA-008"):
        proposed(store, held)


def test_only_what_is_in_quarantine_can_be_readmitted(store: MemoryStore, tmp_path: Path) -> None:
    manifest = write_bundle(tmp_path / "clean", DRAFT)
    key = upload(store, tmp_path / "clean", manifest)
    with pytest.raises(DataError, match="is in flight"):
        proposed(store, key)
    copy = upload(store, tmp_path / "clean", claims_with(manifest, attempt="copy"))
    judge(store, [key, copy], KNOWN, check)
    for one, state in ((key, "accepted"), (copy, "rejected")):
        with pytest.raises(DataError, match=f"is {state}, not in quarantine"):
            proposed(store, one)
    with pytest.raises(DataError, match="E-DATA-072"):
        proposed(store, "uploads/rover-01/never.json")


@pytest.mark.parametrize(
    ("reason", "by"), [("", "ada"), (" \n", "ada"), ("why", ""), ("\x1b[2J", "ada"), ("w" * 1001, "a")]
)
def test_words_that_cannot_be_kept_are_refused(store: MemoryStore, held: str, reason: str, by: str) -> None:
    with pytest.raises(ConfigError, match="E-CONFIG-003"):
        proposed(store, held, reason=reason, by=by)


def test_of_two_uploads_with_one_content_one_is_let_in(store: MemoryStore, held: str, tmp_path: Path) -> None:
    upload(store, tmp_path / "held", claims_with(paused(tmp_path / "again", DRAFT), attempt="other"))
    judge(store, [OTHER], KNOWN, check)
    both = [proposed(store, held), proposed(store, OTHER)]
    readmit(store, None, both[0])
    with pytest.raises(DataError, match="E-DATA-007"):
        readmit(store, None, both[1])  # it was begun, and came too late
    with pytest.raises(DataError, match="E-DATA-007"):
        proposed(store, OTHER)
    counts = count(store)
    assert (counts.accepted, counts.quarantined) == (1, {Code.DATA_CLOCK: 1})
    assert len(accepted(store)) == 1


def test_what_was_recalled_is_not_readmitted(store: MemoryStore, held: str) -> None:
    recall = Recall(contents=(proposed(store, held).content_id,), reason="bad", by="ada", at=1.0)
    store.put_new(recall_key(recall.id), recall.to_bytes())
    with pytest.raises(DataError, match="E-DATA-071"):
        proposed(store, held)


def test_killed_after_any_operation_and_repeated_it_ends_the_same(tmp_path: Path) -> None:
    """Over a real folder and a real ledger; reads count as operations, too."""
    begun = FolderStore(_made(tmp_path / "begun"))
    key = send_paused(begun, tmp_path / "bundle", DRAFT)
    judge(begun, [key], KNOWN, check)
    calm = _copy(begun, tmp_path / "calm")
    let_in(calm, key)
    open_ledger(f"sqlite:///{tmp_path / 'empty.db'}").close()
    last, finished = 0, False
    while not finished:
        last += 1
        inner = _copy(begun, tmp_path / str(last))
        shutil.copy(tmp_path / "empty.db", tmp_path / f"{last}.db")
        with open_ledger(f"sqlite:///{tmp_path / f'{last}.db'}") as ledger:
            try:
                let_in(DyingStore(inner, last), key, ledger=ledger)
                finished = True
            except Killed:
                count(inner)
                assert audit(ledger) == []
                let_in(inner, key, ledger=ledger)
            assert len(audit(ledger)) == 1
        assert _objects(inner) == _objects(calm)
    assert last > 10


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Manifest]]:
    """Two episodes that a person may let in, and one that needs nobody."""
    made = []
    for seed in range(3):
        folder, draft = tmp_path_factory.mktemp("bundle") / "files", Draft(seed=seed, frames=4, first_number=10 * seed)
        made.append((folder, write_bundle(folder, draft) if seed == 2 else paused(folder, draft)))
    return made


lives = st.one_of(st.none(), st.integers(0, 3))
events = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 2), st.integers(0, 4)),
    st.tuples(st.sampled_from(["judge", "judge laxly"]), lives, st.integers(0, 4)),
    st.tuples(st.just("propose"), st.none(), st.integers(0, 4)),
    st.tuples(st.just("catalogue"), lives, st.integers(0, 4)),
    st.tuples(st.just("carry out"), lives, st.integers(0, 4)),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(events, max_size=20))
def test_a_content_counts_once_whoever_judges_readmits_and_dies(
    bundles: list[tuple[Path, Manifest]], history: list[tuple[str, int | None, int]]
) -> None:
    """What is proposed may be carried out much later, and a laxer check may accept what another one held."""
    store = MemoryStore()
    proposals: dict[str, Readmission] = {}
    for what, number, attempt in history:
        before, key = dict(store.objects), f"uploads/rover-01/attempt-{attempt}.json"
        with suppress(Killed, DataError, StorageError):
            if what == "send":
                folder, manifest = bundles[number or 0]
                upload(store, folder, claims_with(manifest, attempt=f"attempt-{attempt}"))
            elif what == "propose":
                proposals[key] = proposed(store, key)
            elif what == "catalogue":
                store.lives = number
                extend(store)
            elif what == "carry out":
                store.lives = number
                if key in proposals:
                    readmit(store, None, proposals[key])
            else:
                store.lives = number
                judge(store, pending(store), KNOWN, check if what == "judge" else lax)
        store.lives = None
        assert before.items() <= store.objects.items(), "something was overwritten"
        _holds(store)
    judge(store, pending(store), KNOWN, check)
    for key in proposals:
        with suppress(DataError):
            let_in(store, key)
        assert owner(store, proposals[key].content_id), "a content that was to be let in is nobody's"
    _holds(store)
    extend(store)
    _holds(store)


def _holds(store: MemoryStore) -> None:
    """The sum is checked by `count`; what versions are made from is exactly what it counts."""
    contents = [manifest.content_id for manifest in accepted(store)]
    assert len(contents) == len(set(contents)) == count(store).accepted


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _copy(store: FolderStore, folder: Path) -> FolderStore:
    shutil.copytree(store.root, folder)
    return FolderStore(folder)


def _objects(store: FolderStore) -> dict[str, bytes]:
    return {info.key: store.get(info.key) for info in store.list("")}
