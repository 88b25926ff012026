"""Mutated pages of the catalogue, through everything that reads them: what they say is what they said, or refused by a
code.
"""

import json
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.sweeps.conftest import SWEPT
from tests.sweeps.mutations.inputs import INPUTS, PARTS, batches, chance_of, require_each, told
from tests.sweeps.mutations.mutate import plain
from tests.unit.data.bundles import KNOWN, Draft, upload, write_bundle
from tests.unit.data.memory_store import MemoryStore
from tests.unit.data.quarantined import check, send_paused
from volano.data.build import accepted, build_version
from volano.data.catalogue import extend
from volano.data.catalogue_query import Query, find, summary
from volano.data.conservation import count
from volano.data.history import history, remember
from volano.data.judge import judge
from volano.data.verdict import pending
from volano.errors import Code, DataError

pytestmark = pytest.mark.slow
_HANGS_S = 300


def remembered(store: MemoryStore) -> bool:
    """Whether every version has its rows."""
    remember(store)
    return True


QUESTIONS: list[Callable[[MemoryStore], object]] = [
    accepted,
    count,
    extend,
    remembered,
    lambda store: [one.id for one in history(store).heads],
    lambda store: history(store).holding([one.content_id for one in accepted(store)]),
    lambda store: summary(list(find(store, Query(robot="rover-01", outcome="success", policy="a")))),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MemoryStore:
    """Three accepted episodes, one in quarantine, a version and its child, all of them catalogued."""
    folder, made, parent = tmp_path_factory.mktemp("pages"), MemoryStore(), ""
    send_paused(made, folder / "paused", Draft(frames=4, seed=9, attempt="paused", first_number=90))
    for number in range(3):
        draft = Draft(frames=4, seed=number, attempt=f"attempt-{number}", first_number=10 * number)
        upload(made, folder / str(number), write_bundle(folder / str(number), draft))
        if number:
            judge(made, pending(made), KNOWN, check)
            extend(made)
            parent = build_version(made, parent=parent, reason="more", select=lambda _: 1.0, known=KNOWN).id
    return made


def answers(store: MemoryStore) -> list[object]:
    """What everybody says; None who refuses by the catalogue's code."""
    found = list[object]()
    for ask in QUESTIONS:
        try:
            found.append(ask(store))
        except DataError as error:
            if error.code is not Code.DATA_CATALOGUE:
                raise
            found.append(None)
    return found


@pytest.mark.parametrize("part", range(PARTS))
def test_a_mutated_page_says_what_it_said_or_is_refused(
    tmp_path: Path, store: MemoryStore, part: int, record_property: Callable[[str, object], None]
) -> None:
    expected = answers(store)
    assert None not in expected, "a sound catalogue is refused"
    names = [key for key in store.objects if key.startswith("catalogue/")]

    def look(numbers: Sequence[int]) -> None:
        seen: Counter[str] = Counter()
        signal.alarm(_HANGS_S)
        for number in numbers:
            spoiled, chance = MemoryStore(), chance_of("page", number)
            name = chance.choice(names)
            spoiled.objects = {**store.objects, name: plain(store.objects[name], chance)}
            found = answers(spoiled)
            assert all(one in (None, other) for one, other in zip(found, expected, strict=True)), f"page {number}"
            seen["refused" if None in found else "read"] += 1
        (tmp_path / "seen").write_text(json.dumps(seen))

    seen: Counter[str] = Counter()
    for numbers in batches("page", part):
        require_each(list(numbers), [f"page {number}" for number in numbers], look)
        seen += Counter(json.loads((tmp_path / "seen").read_text()))
    record_property(SWEPT, told(seen, INPUTS["page"] // PARTS))
