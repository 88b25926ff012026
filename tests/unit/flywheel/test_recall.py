"""Episodes taken back: recorded, in no later version, told once in the audit, whatever dies in between."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.data.bundles import KNOWN, ROVER
from tests.unit.data.dying_store import DyingStore
from tests.unit.data.memory_store import Killed
from tests.unit.flywheel.stock import Stock, make
from volano.data.build import build_version
from volano.data.recall import RECALLS, Recall, Selection, recalled
from volano.data.version import DatasetVersion, EpisodeReference, listed, load
from volano.errors import ConfigError, DataError
from volano.flywheel.recall import RECALLED, Decision, carry_out, decide, propose
from volano.ledger.ledger import Ledger, open_ledger
from volano.storage.folder import FolderStore
from volano.storage.store import ObjectStore

BAD = Selection(robot="arm-07")


def version(parent: str, *names: str) -> DatasetVersion:
    episodes = tuple(EpisodeReference(content_id=name, embodiment="f" * 64, weight=1.0) for name in names)
    return DatasetVersion(parent=parent, reason="r", episodes=episodes, embodiments={"rover": ROVER}, files={})


def recall_of(*names: str, reason: str = "bad", by: str = "ada") -> Recall:
    return Recall(contents=names, reason=reason, by=by, at=1.0)


FIRST = version("", "a", "b")
NEWEST = version(FIRST.id, "a", "b", "c")


def kept(decision: Decision) -> list[str]:
    return [episode.content_id for episode in decision.kept]


def test_the_newest_version_gets_a_child_without_all_that_was_ever_recalled() -> None:
    found = decide([FIRST, NEWEST], [recall_of("b")], recall_of("c"), None)
    assert (found.base, kept(found), found.new, found.holding) == (NEWEST, ["a"], True, ())
    assert decide([FIRST, NEWEST], [], recall_of("c"), FIRST).base is None, "it holds none of them"


def test_a_named_version_gets_the_child_and_the_newest_is_told() -> None:
    found = decide([FIRST, NEWEST], [], recall_of("a"), FIRST)
    assert (found.base, kept(found), found.holding) == (FIRST, ["b"], (NEWEST.id,))


def test_of_several_newest_versions_one_is_to_be_named() -> None:
    aside = version(FIRST.id, "a")
    with pytest.raises(DataError, match="E-DATA-071"):
        decide([FIRST, NEWEST, aside], [], recall_of("a"), None)
    assert decide([FIRST, NEWEST, aside], [], recall_of("c"), None).base == NEWEST


def test_what_is_recalled_already_is_recalled_once() -> None:
    clean = version(NEWEST.id, "a", "b")
    done = [FIRST, NEWEST, clean]
    again = decide(done, [recall_of("c")], recall_of("c", by="bob"), None)
    assert (again.changes, again.recall.by) == (False, "ada")
    assert not decide(done, [recall_of("c")], recall_of("c", reason="another"), None).changes
    assert decide(done, [recall_of("c")], recall_of("b", "c"), None).new
    assert decide([FIRST, NEWEST], [recall_of("c")], recall_of("c"), None).base == NEWEST, "it was killed before"


def test_nothing_left_and_no_version_are_no_reason_not_to_recall() -> None:
    found = decide([FIRST], [], recall_of("a", "b"), None)
    assert (found.new, kept(found), found.base) == (True, [], FIRST)
    assert decide([], [], recall_of("a"), None).new


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    return make(tmp_path_factory.mktemp("stock"))


@pytest.fixture
def store(stock: Stock, tmp_path: Path) -> FolderStore:
    """The stock's, to be changed."""
    return copy(stock.store, tmp_path / "store")


def copy(store: FolderStore, folder: Path) -> FolderStore:
    shutil.copytree(store.root, folder)
    return FolderStore(folder)


def objects(store: FolderStore) -> dict[str, bytes]:
    """But the catalogue, which follows and may be made again."""
    return {info.key: store.get(info.key) for info in store.list("") if not info.key.startswith("catalogue/")}


def recall(
    store: ObjectStore, ledger: Ledger | None, selection: Selection = BAD, name: str = "", by: str = "ada"
) -> str:
    decision, _ = propose(store, selection, version=name, reason="broken gripper", by=by, now=9.0)
    return carry_out(store, ledger, decision)


def audit(ledger: Ledger) -> list[str]:
    return [row.payload for row in ledger.audit() if row.kind == RECALLED]


def test_the_child_keeps_weights_and_says_why(stock: Stock, store: FolderStore, tmp_path: Path) -> None:
    before = objects(store)
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        child = load(store, recall(store, ledger))
        [payload] = audit(ledger)
    assert before.items() <= objects(store).items(), "something was overwritten"
    assert child.parent == stock.second
    assert child.reason.startswith("recall ")
    assert child.reason.endswith(": broken gripper")
    assert {one.content_id: one.weight for one in child.episodes} == dict.fromkeys(stock.contents[:3], 2.0)
    assert recalled(store) == frozenset(stock.contents[3:])
    assert '"episodes":2' in payload


def test_the_child_keeps_skipped_ticks(stock: Stock, store: FolderStore) -> None:
    skipped = dict.fromkeys(stock.contents[1:], ((0, 1), (2, 3)))
    base = build_version(
        store, parent=stock.second, reason="skipping", select=lambda _: 1.0, known=KNOWN, skipped=skipped
    )
    child = load(store, recall(store, None))
    assert child.parent == base.id
    assert {one.content_id: one.skipped for one in child.episodes} == {
        content: skipped.get(content, ()) for content in stock.contents[:3]
    }


def test_a_later_version_holds_none_of_it_and_a_second_recall_changes_nothing(
    stock: Stock, store: FolderStore, tmp_path: Path
) -> None:
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        child = recall(store, ledger)
        before = objects(store)
        assert recall(store, ledger, by="bob") == ""
        assert recall(store, ledger, name=stock.second) == child
        assert objects(store) == before
        assert len(audit(ledger)) == 1
    later = build_version(store, parent=child, reason="later", select=lambda _: 1.0, known=KNOWN)
    assert {one.content_id for one in later.episodes} == {*stock.contents[:3]}


def test_a_version_that_slipped_in_is_mended_by_the_next_recall(stock: Stock, store: FolderStore) -> None:
    """One that was committed in the moment between the last look at the recalls and the put."""
    recall(store, None)
    late = replace(load(store, stock.second), parent=listed(store)[-1].id, reason="slipped in")
    store.put_new(f"datasets/{late.id}/version.json", late.to_bytes())
    mended = load(store, recall(store, None))
    assert mended.parent == late.id
    assert not recalled(store) & {one.content_id for one in mended.episodes}


def test_a_recall_of_everything_that_a_version_holds_makes_none(stock: Stock, store: FolderStore) -> None:
    assert recall(store, None, Selection(until=1_600_002_000.0)) == ""
    assert recalled(store) == frozenset(stock.contents)
    assert len(listed(store)) == 2


def test_what_means_nothing_or_says_nothing_writes_nothing(store: FolderStore) -> None:
    before = objects(store)
    with pytest.raises(DataError, match="E-DATA-071"):
        recall(store, None, Selection(robot="arm-99"))
    with pytest.raises(ConfigError, match="E-CONFIG-003"):
        propose(store, BAD, version="", reason="", by="ada", now=1.0)
    with pytest.raises(DataError, match="E-DATA-013"):
        recall(store, None, name="0" * 64)
    assert objects(store) == before


def test_killed_after_any_operation_and_repeated_it_ends_the_same(stock: Stock, tmp_path: Path) -> None:
    """Reads count as operations, too; the same person repeats the same words later."""
    calm = copy(stock.store, tmp_path / "calm")
    recall(calm, None)
    open_ledger(f"sqlite:///{tmp_path / 'empty.db'}").close()
    last, finished, recorded = 0, False, 0
    while not finished:
        last += 1
        inner = copy(stock.store, tmp_path / str(last))
        shutil.copy(tmp_path / "empty.db", tmp_path / f"{last}.db")
        with open_ledger(f"sqlite:///{tmp_path / f'{last}.db'}") as ledger:
            try:
                recall(DyingStore(inner, last), ledger)
                finished = True
            except Killed:
                assert audit(ledger) == []
                versions, found = listed(inner), list(inner.list(RECALLS))
                assert len(versions) == 2 or found, "a version was made before its recall was recorded"
                recorded += bool(found)
                recall(inner, ledger)
            assert len(audit(ledger)) == 1
        assert objects(inner) == objects(calm)
    assert recorded > 5
