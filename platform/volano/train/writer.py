"""Checkpoints written beside the training: the loop waits for a copy in memory, a thread does the rest.

Each rank's thread writes its own files and, once they are on the disk, its part's record; rank 0's then waits for
everybody's and writes the record that makes the checkpoint exist. No thread touches the process group: files are the
only signal. One checkpoint at most is under way; one that is due earlier waits for it.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from volano.errors import Code, StorageError, TrainError
from volano.train.checkpoint import begin, commit, folder_of, missing_parts, write_part
from volano.train.snapshot import Snapshot

logger = logging.getLogger(__name__)
AVERAGE = "average.safetensors"
_ATTEMPTS, _FIRST_PAUSE_S, _LONGEST_PAUSE_S = 6, 1.0, 20.0
_LOOK_S = 0.05
_PARTS_S = 600.0
"""How much longer than rank 0 the others may write: a part that never comes is in a folder that is not shared."""
_NICE = 10
"""Of the writing thread: what trains goes first."""


class CheckpointWriter:
    """One rank's."""

    def __init__(
        self,
        root: Path,
        *,
        rank: int = 0,
        world: int = 1,
        barrier: Callable[[], None] = lambda: None,
        pause: Callable[[float], object] | None = None,
        parts_s: float = _PARTS_S,
    ) -> None:
        """`root` is shared by all ranks. `pause` waits some seconds before a failed write is repeated; `parts_s`: how
        long rank 0 waits for the others' parts."""
        self._root, self._rank, self._world, self._barrier = root, rank, world, barrier
        self._snapshot = Snapshot()
        self._gone = threading.Event()
        self._pause = pause or self._gone.wait
        self._parts_s = parts_s
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    def save(self, states: Callable[[], Mapping[str, object]], *, stage: int, step: int, layout: str) -> float:
        """Take a copy of what `states` gives (by file name below the checkpoint's folder) and begin to write it; how
        many seconds the caller was kept. Every rank calls it at the same step. Raises like `finish`."""
        begun = time.perf_counter()
        self.finish()
        if self._rank == 0:
            self._begin(stage, step)
        self._barrier()  # nobody writes into a folder that is about to be emptied
        copied = self._snapshot.take(dict(states()))
        self._thread = threading.Thread(
            target=self._work, args=(copied, stage, step, layout), name="checkpoint-writer", daemon=True
        )
        self._thread.start()
        return time.perf_counter() - begun

    def check(self) -> None:
        """Raise TrainError(E-TRAIN-007) when the writing failed for good."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise self._told(failure) from failure

    def finish(self) -> None:
        """Wait until the checkpoint under way is complete (on rank 0), or this rank's part of it. Raises
        TrainError(E-TRAIN-007) when the writing failed for good."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def abandon(self, within_s: float) -> None:
        """The training failed: give the checkpoint under way so much time, then let go of it."""
        if self._thread is not None:
            self._thread.join(within_s)
        self._gone.set()

    def _begin(self, stage: int, step: int) -> None:
        try:
            self._patiently(lambda: begin(self._root, stage, step))
        except OSError as failure:
            raise self._told(failure) from failure

    def _told(self, failure: Exception) -> TrainError:
        return TrainError(
            Code.TRAIN_CHECKPOINT_WRITE,
            f"rank {self._rank} cannot write a checkpoint: {failure}",
            "make room, or make the run's folder writable and shared, then start the same command again",
        )

    def _work(self, states: Mapping[str, object], stage: int, step: int, layout: str) -> None:
        with suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        folder = folder_of(self._root, stage, step)
        try:
            self._patiently(lambda: self._write(folder, states))
            if self._rank == 0:
                if not self._whole(folder):
                    return
                self._patiently(lambda: commit(self._root, stage=stage, step=step, world=self._world, layout=layout))
                logger.info("checkpoint: stage %d, step %d", stage, step)
        except Exception as failure:  # told by `check`, to whoever trains
            self._failure = failure

    def _whole(self, folder: Path) -> bool:
        """Wait for every rank's part; False when the training let go."""
        until = time.monotonic() + self._parts_s
        while missing := missing_parts(folder, self._world):
            if self._gone.wait(_LOOK_S):
                return False
            if time.monotonic() > until:
                ranks = ", ".join(map(str, missing))
                raise TimeoutError(f"no part of rank {ranks} is in {folder}: is it a folder that all workers share?")
        return True

    def _write(self, folder: Path, states: Mapping[str, object]) -> None:
        for name, state in states.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            _save(state, path)
        write_part(folder, self._rank, list(states))

    def _patiently(self, write: Callable[[], object]) -> None:
        for number in range(_ATTEMPTS):
            try:
                write()
            except (OSError, RuntimeError, StorageError) as failure:  # torch tells of a full disk as RuntimeError
                if number + 1 == _ATTEMPTS or self._gone.is_set():
                    raise
                logger.warning("writing a checkpoint failed, trying again: %s", failure)
                self._pause(min(_FIRST_PAUSE_S * 2**number, _LONGEST_PAUSE_S))
            else:
                return


def _save(state: Any, path: Path) -> None:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
