"""What is refused before a run asks a cluster for anything."""

import fcntl
from pathlib import Path

import pytest

from jobs.train import LOCK, run
from jobs.train_request import TrainRequest
from volano.data.recall import Recall, recall_key
from volano.data.version import DatasetVersion, EpisodeReference, commit
from volano.embodiment.shipped import SHIPPED
from volano.errors import DataError, SystemMissingError, TrainError
from volano.storage.open import open_store
from volano.train.layout import RUN


def test_a_second_command_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    """Before it reads or writes anything of the run: the folder here would be refused as another run's."""
    store = open_store(str(tmp_path / "store"))
    (tmp_path / "empty").mkdir()
    version = DatasetVersion(parent="", reason="test", episodes=(), embodiments=SHIPPED, files={})
    commit(store, tmp_path / "empty", version)
    output = tmp_path / "run"
    output.mkdir()
    (output / RUN).write_text('{"config": "another"}')
    request = TrainRequest(recipe="nano", store=store.url, version=version.id, output=str(output))
    with (output / LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SystemMissingError, match="E-SYSTEM-004"):
            run(request)
    assert sorted(path.name for path in output.iterdir()) == sorted([LOCK, RUN])


def test_a_new_run_does_not_start_on_what_was_recalled(tmp_path: Path) -> None:
    """One under way is let through to its own check: the folder here is refused as another run's."""
    store = open_store(str(tmp_path / "store"))
    (tmp_path / "empty").mkdir()
    held = EpisodeReference(content_id="c" * 64, embodiment="any", weight=1.0)
    version = DatasetVersion(parent="", reason="test", episodes=(held,), embodiments=SHIPPED, files={})
    commit(store, tmp_path / "empty", version)
    recall = Recall(contents=(held.content_id,), reason="loose camera", by="ada", at=0.0)
    store.put_new(recall_key(recall.id), recall.to_bytes())
    request = TrainRequest(recipe="nano", store=store.url, version=version.id, output=str(tmp_path / "run"))
    with pytest.raises(DataError, match="E-DATA-071"):
        run(request)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]
    (tmp_path / "run" / RUN).write_text('{"config": "another"}')
    with pytest.raises(TrainError, match="E-TRAIN-001"):
        run(request)
