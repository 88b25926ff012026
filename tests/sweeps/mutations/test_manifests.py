"""Mutated manifests beside an honest upload, judged as ingest does: each is rejected or quarantined by a code or is
accepted, the honest one is accepted, and the store's count agrees.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.sweeps.conftest import SWEPT
from tests.sweeps.mutations.inputs import INPUTS, LIMITS, PARTS, batches, chance_of, require_each, told
from tests.sweeps.mutations.mutate_json import damaged
from tests.unit.data.bundles import KNOWN, Draft, upload, write_bundle
from tests.unit.data.memory_store import MemoryStore
from volano.data import judge as judging
from volano.data.build import build_version
from volano.data.conservation import count
from volano.data.sandbox import check_bundles
from volano.data.verdict import pending
from volano.errors import Code

pytestmark = pytest.mark.slow
_HONEST = "uploads/rover-01/attempt-0001.json"


@pytest.mark.parametrize("part", range(PARTS))
def test_mutated_manifests_end_in_a_verdict(
    tmp_path: Path, part: int, record_property: Callable[[str, object], None]
) -> None:
    sent = MemoryStore()
    upload(sent, tmp_path / "one", write_bundle(tmp_path / "one", Draft(frames=4)))
    other = write_bundle(tmp_path / "two", Draft(frames=4, seed=7, attempt="other"))
    upload(sent, tmp_path / "two", other)

    def look(numbers: Sequence[int]) -> None:
        store = MemoryStore()
        store.objects = dict(sent.objects)
        for number in numbers:
            own = {**json.loads(other.to_bytes()), "attempt": f"attempt-{number}"}
            text = damaged(json.dumps(own).encode(), chance_of("JSON manifest", number))
            store.objects[f"uploads/rover-01/attempt-{number}.json"] = text
        verdicts = judging.judge(store, pending(store), KNOWN, partial(check_bundles, limits=LIMITS))
        assert {verdict.upload for verdict in verdicts} == {key for key in store.objects if key.startswith("uploads/")}
        assert all(verdict.verdict == "accepted" or verdict.code in set(Code) for verdict in verdicts)
        assert next(verdict for verdict in verdicts if verdict.upload == _HONEST).verdict == "accepted"
        counts = count(store)
        assert (counts.in_flight, counts.uploaded) == (0, len(verdicts))
        version = build_version(store, parent="", reason="mutated", select=lambda _manifest: 1.0, known=KNOWN)
        assert len(version.episodes) == counts.accepted
        mutated = [verdict for verdict in verdicts if verdict.upload.startswith("uploads/rover-01/attempt-")]
        seen = Counter(verdict.code or verdict.verdict for verdict in mutated if verdict.upload != _HONEST)
        (tmp_path / "seen").write_text(json.dumps(seen))

    seen: Counter[str] = Counter()
    for numbers in batches("JSON manifest", part):
        require_each(list(numbers), [f"JSON manifest {number}" for number in numbers], look)
        seen += Counter(json.loads((tmp_path / "seen").read_text()))
    record_property(SWEPT, told(seen, INPUTS["JSON manifest"] // PARTS))


def test_a_run_mutates_twenty_thousand_inputs_at_the_least() -> None:
    assert sum(INPUTS.values()) >= 20_000
    assert all(number % PARTS == 0 for number in INPUTS.values())
