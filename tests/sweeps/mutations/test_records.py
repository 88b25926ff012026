"""Mutated records of the store, contracts, mapping documents and notes of repairs, through everything that reads them:
each is read, or refused by a code.
"""

import json
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest

from tests.sweeps.conftest import SWEPT
from tests.sweeps.mutations.inputs import INPUTS, PARTS, batches, chance_of, require_each, told
from tests.sweeps.mutations.mutate_json import damaged
from tests.unit.data.bundles import KNOWN, ROVER, Draft, upload, write_bundle
from tests.unit.data.memory_store import MemoryStore
from tests.unit.data.quarantined import check, send_paused
from tests.unit.data.readers.sources import document
from volano.data.build import accepted, build_version
from volano.data.bundle import MANIFEST_FILE, REPAIRED_FILE
from volano.data.conservation import count
from volano.data.judge import judge
from volano.data.quarantine import dossier, held
from volano.data.readers.mapping import Mapping
from volano.data.readmit import propose, readmit
from volano.data.recall import Recall, Selection, matching, recall_key, recalls
from volano.data.repair import Repair, examine
from volano.data.text import strict_json
from volano.data.verdict import pending, uploads
from volano.data.version import listed
from volano.embodiment.contract import Embodiment
from volano.errors import VolanoError
from volano.storage.content import sha256_bytes

pytestmark = pytest.mark.slow
_HANGS_S = 300
_DRAFT = Draft(frames=4)
_RECORDS = ("verdicts/", "episodes/", "readmissions/", "recalls/", "datasets/")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MemoryStore:
    """A record of every kind."""
    folder, made = tmp_path_factory.mktemp("records"), MemoryStore()
    manifest = write_bundle(folder / "one", _DRAFT)
    upload(made, folder / "one", manifest)
    paused = send_paused(made, folder / "paused", Draft(frames=4, seed=3, attempt="paused", first_number=40))
    judge(made, pending(made), KNOWN, check)
    ask = partial(propose, made, paused, reason="the robot was held", by="ada", now=5.0, known=KNOWN, check=check)
    readmit(made, None, ask(also=()))
    build_version(made, parent="", reason="first", select=lambda _manifest: 1.0, known=KNOWN)
    recall = Recall(contents=(manifest.content_id,), reason="a loose camera", by="ada", at=6.0)
    made.put_new(recall_key(recall.id), recall.to_bytes())
    return made


def read_all(store: MemoryStore) -> int:
    """Ask everything of the store that reads its records; how often it was refused by a code."""
    asked: list[Callable[[], object]] = [
        *(partial(ask, store) for ask in (count, pending, accepted, recalls, listed)),
        lambda: list(held(store)),
        lambda: list(matching(store, Selection(robot="rover-01"))),
        *(partial(dossier, store, key) for key in uploads(store)),
    ]
    refused = len(asked)
    for one in asked:
        with suppress(VolanoError):
            one()
            refused -= 1
    return refused


def with_damaged_record(store: MemoryStore, number: int) -> MemoryStore:
    """The store with one record damaged; a version under the name of what it holds now, as only we can write it."""
    spoiled, chance = MemoryStore(), chance_of("JSON record", number)
    spoiled.objects = dict(store.objects)
    records = [key for key in store.objects if key.startswith(_RECORDS) and key.endswith(".json")]
    key = chance.choice([one for one in records if not one.startswith("datasets/") or one.endswith("/version.json")])
    text = damaged(spoiled.objects.pop(key), chance)
    spoiled.objects[f"datasets/{sha256_bytes(text)}/version.json" if key.startswith("datasets/") else key] = text
    return spoiled


def read_document(kind: str, folder: Path, number: int) -> None:
    """Read one damaged document as those do who are given it."""
    chance = chance_of(kind, number)
    if kind == "mapping":
        Mapping.from_bytes(damaged(json.dumps(document()).encode(), chance)).require_fits(ROVER)
    elif kind == "contract":
        text = damaged(json.dumps(ROVER.to_json()).encode(), chance)
        try:
            plain = strict_json(text)
        except (ValueError, RecursionError):  # for whoever has the text to say
            return
        assert Embodiment.from_json(plain).fingerprint
    else:
        note = asdict(Repair(attempt="one", status="repaired", kept=3, dropped=1, reason="cut off"))
        bundle = folder / "one"
        bundle.mkdir(parents=True, exist_ok=True)
        (bundle / MANIFEST_FILE).write_bytes(b"{}")
        (bundle / REPAIRED_FILE).write_bytes(damaged(json.dumps(note).encode(), chance))
        [found] = examine(folder)
        assert found.status in {"whole", "repaired"}


@pytest.mark.parametrize("part", range(PARTS))
def test_mutated_records_end_in_a_code(
    tmp_path: Path, store: MemoryStore, part: int, record_property: Callable[[str, object], None]
) -> None:
    kinds = ("store", "mapping", "contract", "note")

    def look(numbers: Sequence[int]) -> None:
        seen: Counter[str] = Counter()
        signal.alarm(_HANGS_S)
        for number in numbers:
            kind = kinds[number % len(kinds)]
            if kind == "store":
                seen[f"{kind} refused" if read_all(with_damaged_record(store, number)) else f"{kind} read"] += 1
                continue
            try:
                read_document(kind, tmp_path / "disk", number)
                seen[f"{kind} read"] += 1
            except VolanoError:
                seen[f"{kind} refused"] += 1
        (tmp_path / "seen").write_text(json.dumps(seen))

    assert not read_all(store)
    seen: Counter[str] = Counter()
    for numbers in batches("JSON record", part):
        require_each(list(numbers), [f"JSON record {number}" for number in numbers], look)
        seen += Counter(json.loads((tmp_path / "seen").read_text()))
    record_property(SWEPT, told(seen, INPUTS["JSON record"] // PARTS))
