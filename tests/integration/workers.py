"""Workers of one training, forked from a process that has imported all they need: a launcher's would each pay for
imports longer than for what is tested.

They are real processes with a process group of their own, and may be killed. When one ends badly the others are ended,
as a launcher does.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from tests.integration.seaweed import free_ports

_IMPORTED = ["deepspeed", "deepspeed.checkpoint.ds_to_universal", "peft", "volano.train.zero_three"]
_IMPORTED += [f"tests.integration.train_{name}" for name in ("elastic", "parts", "two")]
_LOOK_S = 0.05
_GRACE_S = 5.0
Main = Callable[..., None]
"""What a worker does; it is given its rank, their number, and the arguments."""

os.environ.setdefault("DS_ACCELERATOR", "cpu")
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(_IMPORTED)


def run(main: Main, *arguments: object, workers: int, said: Path, timeout_s: float = 240.0) -> list[int]:
    """Train with some workers; their exit codes, negative for those that a signal ended. What they say goes to a
    file."""
    port = free_ports(1)[0]
    started: list[BaseProcess] = [
        _context.Process(target=_begin, args=(main, arguments, rank, workers, port, said)) for rank in range(workers)
    ]
    for one in started:
        one.start()
    until = time.monotonic() + timeout_s
    while any(one.is_alive() for one in started) and not any(one.exitcode for one in started):
        if time.monotonic() > until:
            said.open("a").write(f"workers still ran after {timeout_s} s\n")
            break
        time.sleep(_LOOK_S)
    return [_ended(one) for one in started]


def _ended(process: BaseProcess) -> int:
    """The exit code of a process that ends now."""
    if process.is_alive():
        process.terminate()
        process.join(_GRACE_S)
    if process.is_alive():
        process.kill()
        process.join()
    code = process.exitcode
    process.close()
    return -signal.SIGKILL if code is None else code


def _begin(main: Main, arguments: tuple[object, ...], rank: int, world: int, port: int, said: Path) -> None:
    with said.open("ab") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()} | {"MASTER_ADDR": "127.0.0.1"})
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    main(rank, world, *arguments)
