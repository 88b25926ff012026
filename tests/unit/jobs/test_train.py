"""A run's folder has one command at a time."""

import fcntl
from pathlib import Path

import pytest

from jobs.train import LOCK, run
from jobs.train_request import TrainRequest
from volano.data.version import DatasetVersion, commit
from volano.embodiment.shipped import SHIPPED
from volano.errors import SystemMissingError
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
