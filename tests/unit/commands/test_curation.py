"""Curations from the terminal: planned, committed and explained."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.unit.data.bundles import ROVER, Draft, upload, write_bundle
from tests.unit.data.quarantined import check
from volano.cli import app
from volano.data.build import accepted
from volano.data.curation.make import make
from volano.data.judge import judge
from volano.data.verdict import pending
from volano.data.version import load
from volano.embodiment.shipped import SCOUT
from volano.errors import ConfigError, ContractError, DataError
from volano.storage.open import open_store

KNOWN = {SCOUT.fingerprint: SCOUT}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with three episodes and a copy of one by another robot, and the features of all."""
    folder = tmp_path_factory.mktemp("store")
    opened = open_store(str(folder / "store"))
    for number, (seed, robot) in enumerate([(0, "scout-01"), (1, "scout-01"), (2, "scout-01"), (2, "scout-02")]):
        draft = Draft(seed=seed, robot=robot, attempt=f"attempt-{number}", frames=24, embodiment=SCOUT, motion="driven")
        upload(opened, folder / str(number), write_bundle(folder / str(number), draft))
    judge(opened, pending(opened), KNOWN, check)
    assert make(opened, [one.content_id for one in accepted(opened)], KNOWN) == []
    return opened.url


def volano(*arguments: str) -> str:
    """What the command says; its error when it fails."""
    done = CliRunner().invoke(app, ["data", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def keys(store: str) -> set[str]:
    return {info.key for info in open_store(store).list("")}


def test_a_plan_is_told_committed_and_explained(store: str) -> None:
    before = keys(store)
    told = volano("curate", "--store", store, "--plan")
    assert "3 of 4 episodes would be kept" in told
    assert "near duplicate       1" in told
    assert "3 would be drawn more often" in told
    assert told.endswith("next: the same without --plan\n")
    planned: Any = json.loads(volano("curate", "--store", store, "--plan", "--json"))
    assert keys(store) == before
    assert (planned["planned"], planned["version"], planned["counts"]) == (True, "", {"kept": 3, "near duplicate": 1})

    told = volano("curate", "--store", store)
    assert f"plan      {planned['plan']}" in told
    assert keys(store) > before
    done: Any = json.loads(volano("curate", "--store", store, "--json"))
    assert done["plan"] == planned["plan"]
    assert load(open_store(store), done["version"]).reason == f"curation {done['plan']}"
    assert f"version   {done['version']}" in told

    child: Any = json.loads(volano("curate", "--store", store, "--parent", done["version"][:10], "--json"))
    assert load(open_store(store), child["version"]).parent == done["version"]

    [gone] = [one["content_id"] for one in done["decisions"] if not one["keep"]]
    shown = volano("curation", "show", done["plan"][:12], "--episode", gone, "--store", store)
    assert "stands   dropped" in shown
    assert "near duplicate of " in shown
    assert "  motion_gap    0\n" in shown
    assert f"next: volano data lineage {gone} --store {store}" in shown
    found: Any = json.loads(volano("curation", "show", done["plan"], "--episode", gone, "--store", store, "--json"))
    assert (found["rule"], found["keep"], found["upload"][:14]) == ("near duplicate", False, "uploads/scout-")
    assert "3 of 4 episodes kept" in volano("curation", "show", done["plan"], "--store", store)
    assert json.loads(volano("curation", "show", done["plan"], "--store", store, "--json"))["inputs"] == done["inputs"]


def test_what_only_the_floor_keeps_is_said(store: str) -> None:
    told = volano("curate", "--store", store, "--plan", "floor=4")
    assert "4 of 4 episodes would be kept" in told
    assert "it stays because too few of task 'go-to' would be left" in told


def test_a_file_and_changes_on_top_of_it(store: str, tmp_path: Path) -> None:
    file = tmp_path / "curation.json"
    file.write_text('{"duplicates": {"motion": 0}, "floor": 2}')
    asked = ("curate", "--store", store, "--plan", "--json", "--config", str(file))
    found: Any = json.loads(volano(*asked, "weights.intervention=7"))
    assert (found["config"]["floor"], found["config"]["weights"]["intervention"]) == (2, 7)
    assert {one["weight"] for one in found["decisions"]} == {7.0}
    file.write_text('{"floor": 2, "floor": 3}')
    with pytest.raises(ConfigError, match="E-CONFIG-003"):
        volano(*asked)
    with pytest.raises(ConfigError, match="did you mean 'floor'"):
        volano("curate", "--store", store, "--plan", "flor=2")
    with pytest.raises(DataError, match="E-DATA-101"):
        volano("curation", "show", "beef", "--store", store)


def test_a_robot_of_ones_own_is_curated_by_its_contract(tmp_path: Path) -> None:
    opened, known = open_store(str(tmp_path / "store")), {ROVER.fingerprint: ROVER}
    upload(opened, tmp_path / "bundle", write_bundle(tmp_path / "bundle", Draft(motion="driven")))
    judge(opened, pending(opened), known, check)
    assert make(opened, [one.content_id for one in accepted(opened)], known) == []
    file = tmp_path / "rover.json"
    file.write_text(json.dumps(ROVER.to_json()))
    with pytest.raises(ContractError, match="--contract"):
        volano("curate", "--store", opened.url)
    done: Any = json.loads(volano("curate", "--store", opened.url, "--contract", str(file), "--json"))
    assert list(load(opened, done["version"]).embodiments) == [ROVER.tag]
