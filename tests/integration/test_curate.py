"""A curation as a person starts it: features on a real local Ray, a plan, its version, and an explanation."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.built_dataset import dataset
from volano.data.version import diff, load
from volano.storage.open import open_store

_ROOT = Path(__file__).resolve().parents[2]


def volano(*arguments: str) -> Any:
    """What `volano data ... --json` answers."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{_ROOT / 'platform'}{os.pathsep}{_ROOT}",
        "RAY_AUTH_MODE": "disabled",
        "RAY_TMPDIR": os.environ.get("RAY_TMPDIR", "/tmp"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", "from volano.cli import main; main()", "data", *arguments, "--json"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, timeout=300)
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_curation_makes_features_plan_and_version_and_explains_each_episode(tmp_path: Path) -> None:
    url, parent = dataset(tmp_path)
    where = ("--store", str(tmp_path / "store"))
    planned = volano("curate", *where, "--plan", "most_episodes=2")
    store = open_store(url)
    assert len(list(store.list("features/"))) == 3
    assert list(store.list("curations/")) == []
    assert planned["counts"] == {"covered": 1, "kept": 2}

    done = volano("curate", *where, "most_episodes=2")
    assert done["plan"] == planned["plan"]
    version, before = load(store, done["version"]), load(store, parent)
    assert (version.parent, version.reason) == (parent, f"curation {done['plan']}")
    [gone] = [one["content_id"] for one in done["decisions"] if not one["keep"]]
    change = diff(before, version)
    assert change.removed == (gone,)
    assert {one.weight for one in version.episodes} == {3.0}, "in each a person helped"
    told = volano("curation", "show", done["plan"], "--episode", gone, *where)
    assert told["reason"].startswith("covered by ")
