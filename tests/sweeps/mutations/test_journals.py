"""Mutated journals of recordings that were cut off, half of them with right checksums: a repair keeps what can be kept
and says of the rest why not, and every bundle that it makes is whole.
"""

import json
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.sweeps.conftest import SWEPT
from tests.sweeps.mutations.inputs import INPUTS, LIMITS, PARTS, batches, chance_of, require_coded, require_each, told
from tests.sweeps.mutations.mutate_journal import journal
from tests.unit.data.bundles import ROVER
from tests.unit.data.recording import add, recorder
from volano.data.bundle import JOURNAL_FILE, read_manifest
from volano.data.repair import examine, repair
from volano.data.sandbox import Bundle, check_bundles
from volano.data.validate import check_files

pytestmark = pytest.mark.slow
_TICKS = 24
"""Twice as many as an encoder holds back."""
_HANGS_S = 300


@pytest.mark.parametrize("part", range(PARTS))
def test_mutated_journals_are_repaired_or_hopeless(
    tmp_path: Path, part: int, record_property: Callable[[str, object], None]
) -> None:
    with recorder(tmp_path, "clean") as recording:
        for number in range(_TICKS):
            add(recording, number)
        clean = (tmp_path / "clean" / JOURNAL_FILE).read_bytes()

    def look(numbers: Sequence[int]) -> None:
        disk = tmp_path / "disk"
        shutil.rmtree(disk, ignore_errors=True)
        for number in numbers:
            (disk / f"{number:06d}").mkdir(parents=True)
            (disk / f"{number:06d}" / JOURNAL_FILE).write_bytes(journal(clean, chance_of("journal", number)))
        signal.alarm(_HANGS_S)
        expected = {found.attempt: found for found in examine(disk)}
        done = repair(disk, lambda bundles: [None] * len(bundles))  # what they hold is looked at below, in few children
        bundles = []
        for one in done:
            before = expected[one.attempt]
            assert (one.status, before.status) != ("hopeless", "torn") or one.reason, one
            if one.status == "repaired":
                assert (one.kept, one.dropped) == (before.kept, before.dropped), one
                manifest = read_manifest(disk / one.attempt)
                assert manifest.frames == one.kept, one
                finding = check_files(disk / one.attempt, manifest)
                assert finding is None, (one, finding)
                bundles.append(Bundle(folder=disk / one.attempt, manifest=manifest, embodiment=ROVER))
        signal.alarm(0)
        require_coded(check_bundles(bundles, LIMITS), [bundle.folder.name for bundle in bundles])
        (tmp_path / "seen").write_text(json.dumps(Counter(one.status for one in done)))

    seen: Counter[str] = Counter()
    for numbers in batches("journal", part):
        require_each(list(numbers), [f"journal {number}" for number in numbers], look)
        seen += Counter(json.loads((tmp_path / "seen").read_text()))
    record_property(SWEPT, told(seen, INPUTS["journal"] // PARTS))
