"""SIGKILL before every effect, and within every write, of record, upload, judge, build and repair, and once more while
all that is done again: in the end everything is as if nothing had happened, and what was acknowledged was there all
the time. Fewer kills or points than were there once fail the test.
"""

import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.sweeps.conftest import SWEPT
from tests.sweeps.crashes import Effects, in_child, kill, kill_within
from tests.sweeps.life import Tell, check, differences, live, prepare, remains, state, warm, whole
from tests.unit.data.recording import add, recorder
from volano.data.repair import repair

pytestmark = pytest.mark.slow
_PARTS = 4
"""Tests into which a long sweep is cut, for several processes."""
_LEAST_KILLS, _LEAST_POINTS = 800, 40
STAGES = (
    *("recording._write", "record._new_folder", "assemble.write_files", "assemble.commit", "upload.upload"),
    *("judge.fetch_bundle", "judge._commit", "verdict.claim", "catalogue.extend", "version_dataset.write_dataset"),
    *("version.commit", "history.remember"),
)
"""Functions that must be among those that are killed: of record, upload, ingest, catalogue and commit."""


@pytest.fixture(scope="module", autouse=True)
def warmed(tmp_path_factory: pytest.TempPathFactory) -> None:
    warm(tmp_path_factory.mktemp("warm"))


class Log:
    """What a process told before it died, line by line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._write = os.write
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)

    def tell(self, line: str) -> None:
        self._write(self._descriptor, f"{line}\n".encode())

    def lines(self) -> Sequence[str]:
        return self._path.read_text().splitlines()

    def close(self) -> None:
        os.close(self._descriptor)


def silent(_line: str) -> None:
    """Nobody listens."""


def counted(tmp_path: Path, act: Callable[[Path, Tell], None], place: Path) -> dict[str, Any]:
    """The effects of an undisturbed run in a child, and what it leaves."""

    def work() -> None:
        effects = Effects(0, kill)
        with effects.watched():
            act(place, silent)
        found = {"names": effects.names, "points": effects.points, "remains": remains(place)}
        (tmp_path / "calm.json").write_text(json.dumps(found))

    assert in_child(work) == 0
    found: dict[str, Any] = json.loads((tmp_path / "calm.json").read_text())
    return found


def again(place: Path, told: Sequence[str], act: Callable[[Path, Tell], None], calm: dict[str, str]) -> None:
    """Look, start again, look again."""
    whole(place, told)
    act(place, silent)
    whole(place, told)
    assert not (left := differences(remains(place), calm)), f"differs from the undisturbed run: {left}"


def sweep(
    tmp_path: Path, act: Callable[[Path, Tell], None], make: Callable[[Path], Path], part: int = 0, parts: int = 1
) -> tuple[int, set[str], set[str]]:
    """Kill at every effect, or every `parts`-th; the number of kills, the names of the points that they hit, and those
    that all parts hit together."""
    calm = counted(tmp_path, act, make(tmp_path / "calm"))
    kills, points, known = 0, set[str](), set[str]()
    numbered = list(enumerate(zip(calm["names"], calm["points"], strict=True), start=1))
    for position, (name, point) in numbered[part::parts]:
        points.add(point)
        for how in (kill, kill_within) if name == "write" else (kill,):
            place, log = make(tmp_path / "place"), Log(tmp_path / "told")
            effects = Effects(position, how)

            def doomed(effects: Effects = effects, place: Path = place, log: Log = log) -> None:
                with effects.watched():
                    act(place, log.tell)

            assert in_child(doomed) == -signal.SIGKILL
            kills += 1
            ahead = max(1, len(calm["names"]) - position)
            second = Effects(random.Random(position).randint(1, ahead), kill)
            kills += in_child(partial(doomed, second)) == -signal.SIGKILL  # or it had less left to do, and did it
            left = state(place, log.lines())
            if left not in known:
                status = in_child(partial(again, place, log.lines(), act, calm["remains"]))
                assert status == 0, f"killed at effect {position}, {point}: see the traceback above"
                known.add(left)
            log.close()
            shutil.rmtree(place)
    return kills, points, set(calm["points"])


@pytest.mark.parametrize("part", range(_PARTS))
def test_a_kill_anywhere_from_the_first_tick_to_the_version_changes_nothing(
    tmp_path: Path, part: int, record_property: Callable[[str, object], None]
) -> None:
    kills, points, together = sweep(tmp_path, live, prepare, part, _PARTS)
    record_property(SWEPT, f"{kills} kills at {len(points)} named points")
    assert kills * _PARTS >= _LEAST_KILLS
    assert len(points) >= _LEAST_POINTS, sorted(points)
    missing = [stage for stage in STAGES if not any(stage in point for point in together)]
    assert not missing, f"nothing was killed in {missing}"


def test_a_kill_anywhere_in_a_repair_changes_nothing(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    def torn(place: Path) -> Path:
        prepare(place)
        with recorder(tmp_path / place.name / "live", "one") as recording:
            for number in range(20):
                add(recording, number)
            shutil.copytree(place / "live" / "one", place / "disk" / "one")
        shutil.rmtree(place / "live")
        return place

    def mend(place: Path, _tell: Tell) -> None:
        repair(place / "disk", check)

    kills, points, _ = sweep(tmp_path, mend, torn)
    record_property(SWEPT, f"{kills} kills at {len(points)} named points")
    assert kills >= 30
