"""A checkpoint counts when it is whole and on the disk, and only then may an older one go."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from volano.errors import TrainError
from volano.train.checkpoint import (
    RECORD,
    begin,
    commit,
    folder_of,
    missing_parts,
    newest,
    newest_name,
    write_part,
)


def write(root: Path, step: int) -> Path:
    folder = folder_of(root, 0, step)
    (folder / "ranks" / "0").mkdir(parents=True)
    (folder / "ranks" / "0" / "state.safetensors").write_bytes(b"weights %d" % step)
    (folder / "average.safetensors").write_bytes(b"average %d" % step)
    return folder


def complete(root: Path, step: int) -> None:
    write_part(folder_of(root, 0, step), 0, ["ranks/0/state.safetensors", "average.safetensors"])
    commit(root, stage=0, step=step, world=1, layout="plain adamw")


def test_everything_of_a_checkpoint_is_on_the_disk_before_its_record_and_before_an_older_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2):
        write(tmp_path, step)
        complete(tmp_path, step)
    folder = write(tmp_path, 3)
    happened: list[str] = []

    def name(path: str | Path) -> str:
        return str(Path(path).relative_to(tmp_path))

    def noting(call: Callable[..., Any], what: Callable[..., str]) -> Callable[..., Any]:
        def noted(*arguments: Any, **options: Any) -> Any:
            happened.append(what(*arguments))
            return call(*arguments, **options)

        return noted

    monkeypatch.setattr(
        os, "fsync", noting(os.fsync, lambda file: f"sync {name(os.readlink(f'/proc/self/fd/{file}'))}")
    )
    monkeypatch.setattr(os, "replace", noting(os.replace, lambda _, new: f"replace {name(new)}"))
    monkeypatch.setattr(os, "unlink", noting(os.unlink, lambda path: f"unlink {path}"))
    complete(tmp_path, 3)
    recorded = happened.index(f"replace {name(folder / RECORD)}")
    needed = [".", *(name(path) for path in (folder, *folder.rglob("*")) if path.suffix != ".json")]
    assert {f"sync {path}" for path in needed} <= set(happened[:recorded])
    forgotten = next(place for place, event in enumerate(happened) if event.startswith("unlink") and RECORD in event)
    assert f"sync {name(folder)}" in happened[recorded:forgotten]


def test_the_newest_two_stay(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        write(tmp_path, step)
        complete(tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == [folder_of(tmp_path, 0, step).name for step in (3, 4)]


def test_a_folder_without_a_record_and_a_damaged_one_are_passed_over(tmp_path: Path) -> None:
    for step in (1, 2):
        write(tmp_path, step)
        complete(tmp_path, step)
    write(tmp_path, 3)
    (folder_of(tmp_path, 0, 2) / "average.safetensors").write_bytes(b"average 9")
    found = newest(tmp_path)
    assert found is not None
    assert found.step == 1


def test_a_checkpoint_needs_the_part_of_every_rank(tmp_path: Path) -> None:
    folder = write(tmp_path, 1)
    assert missing_parts(folder, 2) == [0, 1]
    write_part(folder, 1, ["ranks/0/state.safetensors"])
    assert missing_parts(folder, 2) == [0]
    write_part(folder, 0, ["average.safetensors"])
    assert missing_parts(folder, 2) == []
    commit(tmp_path, stage=0, step=1, world=2, layout="deepspeed zero-1 adamw")
    (folder / "ranks" / "0" / "state.safetensors").write_bytes(b"weights 2")
    assert newest(tmp_path) is None, "what a rank wrote is watched as well"


def test_a_checkpoint_of_another_schema_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 1)
    complete(tmp_path, 1)
    record = folder_of(tmp_path, 0, 1) / RECORD
    record.write_text(record.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(TrainError, match=r"E-TRAIN-001 .*schema 2"):
        newest(tmp_path)


def test_what_more_workers_left_when_they_died_does_not_become_part_of_a_checkpoint(tmp_path: Path) -> None:
    left = write(tmp_path, 1) / "ranks" / "3"
    left.mkdir()
    assert begin(tmp_path, 0, 1) == left.parents[1]
    assert list(left.parents[1].iterdir()) == []


def test_a_damaged_checkpoint_is_set_aside_so_that_its_name_is_believed_by_nobody(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        write(tmp_path, step)
        complete(tmp_path, step)
    (folder_of(tmp_path, 0, 3) / "average.safetensors").write_bytes(b"average 9")
    assert newest_name(tmp_path) == folder_of(tmp_path, 0, 3).name, "nobody has looked"
    for _ in range(2):
        found = newest(tmp_path)
        assert found is not None
        assert newest_name(tmp_path) == found.folder.name == folder_of(tmp_path, 0, 2).name
    begin(tmp_path, 0, 3).rmdir()
    write(tmp_path, 3)
    complete(tmp_path, 3)
    assert newest_name(tmp_path) == folder_of(tmp_path, 0, 3).name, "it was made again"
