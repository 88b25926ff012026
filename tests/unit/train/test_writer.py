"""A checkpoint is written beside the training: of the state as it was, complete or nowhere, and never silently not."""

import errno
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from volano.errors import TrainError
from volano.train.checkpoint import folder_of, missing_parts, newest
from volano.train.writer import CheckpointWriter

LAYOUT = "plain adamw"


def states(value: float) -> Callable[[], dict[str, object]]:
    return lambda: {"sub/state.pt": {"weight": torch.full((3,), value)}, "average.safetensors": {"w": torch.zeros(2)}}


def read(root: Path, step: int) -> list[float]:
    found = torch.load(folder_of(root, 0, step) / "sub" / "state.pt", weights_only=True)["weight"]
    return list(found.tolist())


def test_what_is_written_is_what_was_when_it_was_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_write, save = threading.Event(), torch.save

    def later(state: object, path: Path) -> None:
        assert may_write.wait(10)
        save(state, path)

    monkeypatch.setattr(torch, "save", later)
    weight = torch.ones(3)
    writer = CheckpointWriter(tmp_path)
    writer.save(lambda: {"sub/state.pt": {"weight": weight}}, stage=0, step=1, layout=LAYOUT)
    weight += 1
    assert newest(tmp_path) is None
    may_write.set()
    writer.finish()
    found = newest(tmp_path)
    assert found is not None
    assert (found.stage, found.step, found.world, found.layout) == (0, 1, 1, LAYOUT)
    assert read(tmp_path, 1) == [1, 1, 1]


def test_one_that_is_due_early_waits_for_the_one_before(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path)
    for step in range(1, 6):
        writer.save(states(step), stage=0, step=step, layout=LAYOUT)
    writer.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == [folder_of(tmp_path, 0, step).name for step in (4, 5)]
    assert (read(tmp_path, 4), read(tmp_path, 5)) == ([4] * 3, [5] * 3)


def test_the_first_rank_waits_for_the_others_parts(tmp_path: Path) -> None:
    first, second = (CheckpointWriter(tmp_path, rank=rank, world=2) for rank in (0, 1))
    first.save(states(1), stage=0, step=1, layout=LAYOUT)
    until = time.monotonic() + 10
    while missing_parts(folder_of(tmp_path, 0, 1), 2) != [1]:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert newest(tmp_path) is None
    second.save(lambda: {"other.pt": {"weight": torch.ones(2)}}, stage=0, step=1, layout=LAYOUT)
    second.finish()
    first.finish()
    found = newest(tmp_path)
    assert found is not None
    (found.folder / "other.pt").write_bytes(b"damaged")
    assert newest(tmp_path) is None


def test_a_full_disk_is_tried_again_and_then_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    writer = CheckpointWriter(tmp_path, pause=pauses.append)
    writer.save(states(1), stage=0, step=1, layout=LAYOUT)
    writer.finish()
    save, left = torch.save, [3]

    def full(state: object, path: Path) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, "no space")
        save(state, path)

    monkeypatch.setattr(torch, "save", full)
    writer.save(states(2), stage=0, step=2, layout=LAYOUT)
    writer.finish()
    assert read(tmp_path, 2) == [2] * 3, "room was made meanwhile"
    assert pauses == [1, 2, 4]
    left[0] = 1000
    writer.save(states(3), stage=0, step=3, layout=LAYOUT)
    with pytest.raises(TrainError, match=r"E-TRAIN-007 .*no space"):
        writer.finish()
    found = newest(tmp_path)
    assert found is not None
    assert found.step == 2, "the last good one is still there"


def test_a_disk_that_is_full_for_the_very_folder_is_told_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("in the way, as what a full disk refuses is not there")
    pauses: list[float] = []
    writer = CheckpointWriter(tmp_path / "checkpoints", pause=pauses.append)
    with pytest.raises(TrainError, match="E-TRAIN-007"):
        writer.save(states(1), stage=0, step=1, layout=LAYOUT)
    assert pauses == [1, 2, 4, 8, 16]


def test_a_training_that_failed_lets_go(tmp_path: Path) -> None:
    lonely = CheckpointWriter(tmp_path, rank=0, world=2)
    lonely.save(states(1), stage=0, step=1, layout=LAYOUT)
    lonely.abandon(0.2)
    lonely.finish()
    assert newest(tmp_path) is None


def test_a_part_that_never_comes_ends_the_waiting(tmp_path: Path) -> None:
    """As where a run's folder is another one on every machine."""
    lonely = CheckpointWriter(tmp_path, rank=0, world=3, parts_s=0.2)
    lonely.save(states(1), stage=0, step=1, layout=LAYOUT)
    with pytest.raises(TrainError, match=r"E-TRAIN-007 .*rank 1, 2.*all workers share"):
        lonely.finish()
    assert newest(tmp_path) is None
