"""A run's folder says how far it is, and the command that goes on."""

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from volano.cli import app
from volano.errors import TrainError
from volano.train.checkpoint import begin, commit, folder_of, write_part
from volano.train.journal import Journal, read_journal
from volano.train.layout import CHECKPOINTS, JOURNAL, POLICY, RUN
from volano.train.progress import look

REQUEST = {
    "recipe": "nano",
    "overrides": ["seed=1"],
    "store": "store",
    "version": "ab" * 32,
    "output": "run",
    "parent": "",
    "workers": 2,
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / RUN).write_text(json.dumps({"request": REQUEST, "config": {"stages": [{"steps": 3}, {"steps": 7}]}}))
    return tmp_path


def test_a_run_begins_goes_on_falls_silent_and_ends(run: Path) -> None:
    begun = look(run, 0.0)
    assert (begun.state, begun.step, begun.steps, begun.checkpoint) == ("not begun", 0, 10, "")
    Journal(run / JOURNAL).append(3, {"loss": 0.5})
    at = read_journal(run / JOURNAL)[-1][1]
    begin(run / CHECKPOINTS, 1, 1)
    write_part(folder_of(run / CHECKPOINTS, 1, 1), 0, [])
    commit(run / CHECKPOINTS, stage=1, step=1, world=1, layout="")
    going = look(run, at + 299)
    assert (going.state, going.step, going.metrics) == ("under way", 4, {"loss": 0.5})
    assert going.checkpoint == folder_of(run / CHECKPOINTS, 1, 1).name
    assert look(run, at + 301).state == "silent"
    words = shlex.split(going.next)
    assert words[:5] == ["volano", "train", "run", "nano", "seed=1"]
    assert words[-4:] == ["--output", str(run), "--workers", "2"]
    (run / POLICY).mkdir()
    done = look(run, at + 301)
    assert done.state == "done"
    assert done.next.startswith("volano eval run")


def test_what_was_changed_on_the_way_is_shown(run: Path) -> None:
    changes = [{"at": "2026-11-23T10:00:00+00:00", "changes": [{"key": "seed", "old": 0, "new": 1}]}]
    (run / "changes.json").write_text(json.dumps(changes))
    said = CliRunner().invoke(app, ["train", "show", str(run)]).output
    assert "changed at 2026-11-23T10:00:00+00:00  seed: 0 -> 1" in said
    assert json.loads(CliRunner().invoke(app, ["train", "show", str(run), "--json"]).output)["step"] == 0


def test_a_folder_of_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="E-TRAIN-001"):
        look(tmp_path, 0.0)
