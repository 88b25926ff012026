"""A shard that outlived its experiment is not made a second time beside itself."""

import fcntl
import threading
from pathlib import Path

from jobs.experiment.arms import Arm
from jobs.experiment.shard import LOCK, result_path, run_shard


def test_a_shard_that_another_process_makes_is_waited_for_and_not_made_again(tmp_path: Path) -> None:
    work, result = tmp_path / "work" / "base-0", result_path(tmp_path, "base", 0)
    work.mkdir(parents=True)
    result.parent.mkdir()
    second = threading.Thread(target=run_shard, args=(tmp_path, Arm(name="base"), 0), daemon=True)
    with (work / LOCK).open("ab") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second.start()
        second.join(0.3)
        assert second.is_alive()
        result.write_text("made by the first")
    second.join(20)
    assert not second.is_alive()
    assert result.read_text() == "made by the first"
    assert [path.name for path in work.iterdir()] == [LOCK], "nothing was trained"
