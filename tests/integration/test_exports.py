"""What we export, the readers of openpi, GR00T and starVLA load: every row bit for bit, every frame in its place.

They run unmodified, in an environment of their own. Stock LeRobot comes as a package; the others' sources are fetched
by commit, and their tests are skipped where that is not possible.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.export_readers import LEROBOT, PEERS, read_with, source_of
from tests.unit.data.bundles import columns
from tests.unit.data.exports.versions import Made, make
from volano.data.exports.export import export

_ROOT = Path(__file__).resolve().parents[2]
HORIZON = 4
CAMERAS = ("ego", "rear")


@dataclass(frozen=True, kw_only=True)
class Truth:
    """One episode of the export as it was recorded."""

    state: Any
    action: Any
    numbers: list[int]
    text: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("made"))


def exported(made: Made, target: str, tmp_path: Path) -> tuple[Path, list[Truth]]:
    """The rover's folder of an export, and what its episodes should be."""
    export(made.store, made.version.id, target, tmp_path / "out")
    folder = tmp_path / "out" / "rover"
    truths = []
    for line in (folder / "volano" / "episodes.jsonl").read_text().splitlines():
        origin = json.loads(line)
        _, draft, _ = made.endings[origin["content_id"]]
        table, ticks = columns(draft), range(origin["start"], origin["end"])
        numbers = [draft.first_number + tick for tick in ticks]
        rows = slice(ticks.start, ticks.stop)
        truths.append(
            Truth(state=table["state"][rows], action=table["action"][rows], numbers=numbers, text=draft.instruction)
        )
    return folder, truths


def expected(truths: list[Truth]) -> Iterator[dict[str, Any]]:
    """Every frame with its chunk, an episode's last row again behind its end."""
    for episode, truth in enumerate(truths):
        last = len(truth.numbers) - 1
        for tick, number in enumerate(truth.numbers):
            yield {
                "episode": episode,
                "text": truth.text,
                "state": truth.state[tick].tolist(),
                "chunk": [truth.action[min(tick + ahead, last)].tolist() for ahead in range(HORIZON)],
                "numbers": dict.fromkeys(CAMERAS, number),
            }


def require_close(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """They compute in single precision."""
    assert set(theirs) <= set(ours)
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.peer
def test_stock_lerobot_of_the_older_format_sees_every_frame(made: Made, tmp_path: Path) -> None:
    folder, truths = exported(made, "openpi", tmp_path)
    seen = read_with("read_export_with_lerobot.py", str(folder), str(HORIZON), home=tmp_path / "home", packages=LEROBOT)
    assert seen["frames"] == list(expected(truths))
    assert (seen["fps"], seen["robot"], seen["image_mean_shape"]) == (10, "rover", [3, 1, 1])
    every = np.concatenate([truth.action for truth in truths]).astype(np.float64)
    np.testing.assert_allclose(seen["std"], every.std(axis=0), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.peer
def test_openpi_loads_our_statistics_and_counts_the_same(made: Made, tmp_path: Path) -> None:
    source = source_of("openpi") / "src"
    folder, truths = exported(made, "openpi", tmp_path)
    asked = (str(folder), "8", "openpi")
    found = read_with("read_export_with_lerobot.py", *asked, home=tmp_path / "home", packages=PEERS, source=source)[
        "openpi"
    ]
    for name, part in (("state", "state"), ("actions", "action")):
        ours, theirs = found["ours"][name], found["theirs"][name]
        for moment in ("mean", "std"):
            np.testing.assert_allclose(ours[moment], theirs[moment], rtol=1e-4, atol=1e-6)
        span = np.ptp(np.concatenate([getattr(truth, part) for truth in truths]), axis=0)
        for quantile in ("q01", "q99"):  # theirs are edges of 5,000 bins
            assert (np.abs(np.subtract(ours[quantile], theirs[quantile])) <= span / 5000 + 1e-6).all()


@pytest.mark.slow
@pytest.mark.peer
def test_gr00t_s_loader_sees_every_frame_and_keeps_our_statistics(made: Made, tmp_path: Path) -> None:
    source = source_of("gr00t")
    folder, truths = exported(made, "gr00t", tmp_path)
    documented = (_ROOT / "docs" / "formats.md").read_text().split("```python\n")[1].split("```")[0]
    modalities = tmp_path / "modalities.py"
    modalities.write_text(documented.replace("FOLDER/TAG", str(folder)))
    seen = read_with(
        "read_export_with_gr00t.py", str(folder), str(modalities), home=tmp_path / "home", packages=PEERS, source=source
    )
    assert (seen["kept"], seen["horizon"]) == (True, 8)
    assert seen["lengths"] == [len(truth.numbers) for truth in truths]
    for found, truth in zip(seen["episodes"], truths, strict=True):
        assert found["state"] == truth.state.tolist()
        assert found["action"] == truth.action.tolist()
        assert found["numbers"] == dict.fromkeys(CAMERAS, truth.numbers)
        assert set(found["texts"]) == {truth.text}
    ours = json.loads((folder / "meta" / "stats.json").read_text())
    for column, theirs in seen["theirs"].items():
        require_close(ours[column], theirs)
    assert seen["by_key"]["action"]["yaw_rate"]["q99"] == ours["action"]["q99"][1:]


@pytest.mark.slow
@pytest.mark.peer
def test_starvla_s_dataset_sees_every_frame_and_keeps_our_statistics(made: Made, tmp_path: Path) -> None:
    source = source_of("starvla")
    folder, truths = exported(made, "starvla", tmp_path)
    asked = (str(folder), str(HORIZON), str(source))
    seen = read_with("read_export_with_starvla.py", *asked, home=tmp_path / "home", packages=PEERS, source=source)
    assert seen["kept"]
    assert seen["frames"] == list(expected(truths))
    ours = json.loads((folder / "meta" / "stats_gr00t.json").read_text())["statistics"]
    assert seen["statistics"]["state"]["yaw_rate"]["mean"] == ours["observation.state"]["mean"][1:]
