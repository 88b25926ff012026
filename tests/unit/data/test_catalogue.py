"""The catalogue says what the objects say: row for row, once, whoever writes and dies; and spares reading them."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.unit.data.bundles import KNOWN, POLICY, Draft, claims_with, upload, write_bundle
from tests.unit.data.dying_store import DyingStore
from tests.unit.data.memory_store import Killed, MemoryStore
from tests.unit.data.quarantined import check, send_paused
from volano.data.build import accepted
from volano.data.catalogue import Cataloguer, believed_among, extend, judged
from volano.data.catalogue_query import Query, find, summary
from volano.data.catalogue_rows import EPISODES
from volano.data.conservation import count
from volano.data.episode import Outcome
from volano.data.judge import judge
from volano.data.pages import pages, read
from volano.data.quarantine import held
from volano.data.readmit import propose, readmit
from volano.data.verdict import VERDICTS, pending, verdict_key
from volano.errors import DataError
from volano.storage.folder import FolderStore
from volano.storage.store import ObjectStore

LET_IN = "uploads/rover-02/let-in.json"


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Five accepted episodes of two robots, a twin that was rejected, and two in quarantine of which one was let in."""
    place, store = tmp_path_factory.mktemp("bundles"), MemoryStore()
    for number in range(5):
        robot = f"rover-0{1 + number % 2}"
        manifest = write_bundle(place / str(number), Draft(seed=number, frames=4, first_number=10 * number))
        claims = {
            "robot": robot,
            "attempt": f"attempt-{number}",
            "started_at": 1.7e9 + number,
            "task": f"task {number % 3}",
        }
        if number == 4:
            claims["outcome"] = Outcome(success=False, autonomous=False, source="operator", safety_stops=2)
        upload(store, place / str(number), claims_with(manifest, **claims))
        if number == 0:
            upload(store, place / str(number), claims_with(manifest, **{**claims, "attempt": "twin"}))
    for seed, attempt in ((6, "held"), (7, "let-in")):
        send_paused(
            store, place / attempt, Draft(seed=seed, frames=4, robot="rover-02", attempt=attempt, first_number=99)
        )
    judge(store, pending(store), KNOWN, check)
    readmit(store, None, propose(store, LET_IN, also=(), reason="a door", by="ada", now=1.0, known=KNOWN, check=check))
    return store.objects


@pytest.fixture
def store(objects: dict[str, bytes]) -> MemoryStore:
    made = MemoryStore()
    made.objects = dict(objects)
    return made


def keys(store: ObjectStore) -> list[tuple[str, bool]]:
    found = [row for rows in read(store, EPISODES, pages(store, EPISODES)) for row in rows.to_pylist()]
    return sorted((row["upload"], row["readmitted"]) for row in found)


def test_everything_reads_the_same_with_all_some_or_no_rows(store: MemoryStore) -> None:
    views: list[Callable[[], object]] = [lambda: accepted(store), lambda: count(store), lambda: judged(store),
                                         lambda: list(held(store, robot="rover-02"))]  # fmt: skip
    before = [view() for view in views]
    every = list(judged(store))
    Cataloguer(store).add(every[2:5])
    assert [view() for view in views] == before
    assert extend(store) == len(every) - 3 + 1, "one for every other verdict, and one for the readmission"
    assert [view() for view in views] == before
    assert len(accepted(store)) == 6


def test_some_uploads_are_believed_as_they_are_among_all(store: MemoryStore) -> None:
    """With no, some and all rows: of each verdict there is, and of names that nothing has."""
    every = {f"uploads/{key.removeprefix(VERDICTS)}" for key in judged(store)} | {
        LET_IN,
        "uploads/nobody/1.json",
        "a//b",
    }
    expected = accepted(store)
    keys = list(judged(store))
    for some in ([], keys[:4], keys[4:]):
        Cataloguer(store).add(some)
        found = believed_among(store, every)
        assert sorted(found, key=lambda one: one.content_id) == expected
        [one] = believed_among(store, {LET_IN})
        assert one.attempt == "let-in"
    assert believed_among(store, ()) == []


def test_what_has_a_row_is_not_read_again(store: MemoryStore) -> None:
    extend(store)
    read_keys: list[str] = []
    get = store.get
    store.get = lambda key: (read_keys.append(key), get(key))[1]  # type: ignore[method-assign, func-returns-value]
    assert len(accepted(store)) == 6
    count(store)
    assert {key.split("/")[0] for key in read_keys} == {"catalogue", "readmissions", "episodes"}


def test_extending_again_changes_nothing(store: MemoryStore) -> None:
    assert extend(store) == 9
    before = dict(store.objects)
    assert extend(store) == 0
    assert store.objects == before


def test_killed_after_any_operation_and_repeated_every_row_is_there_once(objects: dict[str, bytes]) -> None:
    calm, last, finished = MemoryStore(), 0, False
    calm.objects = dict(objects)
    extend(calm)
    while not finished:
        last += 1
        inner = MemoryStore()
        inner.objects = dict(objects)
        with suppress(Killed):
            extend(DyingStore(inner, last))
            finished = True
        extend(inner)
        assert keys(inner) == keys(calm)
    assert last > 20


def test_writers_at_the_same_time_add_each_row_once(objects: dict[str, bytes], tmp_path: Path) -> None:
    """Each has its own share, and all of one robot besides."""
    store = FolderStore(tmp_path)
    for key, data in objects.items():
        store.put_new(key, data)
    every = list(judged(store))
    writers = [Cataloguer(store) for _ in range(4)]
    shares = [[*every[number::4], *(key for key in every if "rover-01" in key)] for number in range(4)]
    for share in shares:
        random.Random(len(share)).shuffle(share)
    with ThreadPoolExecutor(4) as pool:
        added = sum(pool.map(lambda writer, share: writer.add(share), writers, shares))
    assert added == len(every)
    assert keys(store) == sorted((f"uploads/{key.removeprefix(VERDICTS)}", False) for key in every)


def test_a_row_keeps_what_was_judged_when_the_upload_is_changed(store: MemoryStore) -> None:
    before = accepted(store)
    extend(store)
    key = f"uploads/{before[0].robot}/{before[0].attempt}.json"
    store.objects[key] = store.objects[key].replace(b"go to the red ball", b"go to the hot oven")
    assert accepted(store) == before


def test_what_contradicts_itself_gets_no_row_and_is_noticed_where_it_counts(store: MemoryStore) -> None:
    upload = "uploads/rover-01/attempt-0.json"
    store.objects[verdict_key(upload)] = store.objects["verdicts/rover-01/attempt-2.json"]
    assert extend(store) == 8
    assert (upload, False) not in keys(store)
    with pytest.raises(DataError, match="E-DATA-016"):
        count(store)


def test_a_verdict_that_is_gone_is_missed(store: MemoryStore) -> None:
    extend(store)
    key = next(iter(judged(store)))
    del store.objects[key]
    with pytest.raises(DataError, match=f"E-DATA-016.*{key}"):
        count(store)


@pytest.mark.parametrize(
    ("query", "attempts"),
    [
        (Query(), {"attempt-0", "attempt-1", "attempt-2", "attempt-3", "attempt-4", "let-in"}),
        (Query(robot="rover-02"), {"attempt-1", "attempt-3", "let-in"}),
        (Query(robot="rover-02", task="task 1"), {"attempt-1"}),
        (Query(outcome="failure"), {"attempt-4"}),
        (Query(outcome="success", since=1.7e9 + 1, until=1.7e9 + 3), {"attempt-1", "attempt-2"}),
        (Query(outcome="unknown"), set()),
        (Query(source="operator", embodiment="rover"), {"attempt-4"}),
        (Query(policy=POLICY[:6], task="task 2"), {"attempt-2"}),
        (Query(policy="cd"), set()),
        (Query(robot="nobody"), set()),
    ],
)  # fmt: skip
def test_episodes_are_found(store: MemoryStore, query: Query, attempts: set[str]) -> None:
    extend(store)
    found = list(find(store, query))
    assert {attempt for rows in found for attempt in rows["attempt"].to_pylist()} == attempts
    counted = summary(found)
    assert (counted["episodes"], counted["frames"]) == (len(attempts), 4 * len(attempts))
    assert sum(counted["robots"].values()) == len(attempts)


def test_an_outcome_that_there_is_not_is_refused(store: MemoryStore) -> None:
    with pytest.raises(DataError, match=r"E-DATA-106.*\n.*success, failure, unknown"):
        list(find(store, Query(outcome="good")))
