"""What Ray says of a training that failed, made an error with a code, and kept in the run's folder.

Relies on each worker's log there (`volano.train.worker_log`); decides nothing itself (`volano.train.deaths` does).
"""

import json
import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIG_DFL, SIG_IGN, SIGTERM, signal
from types import FrameType

import ray
import ray.train
from ray.exceptions import ActorUnavailableError, NodeDiedError, OutOfMemoryError, RayActorError, RayError
from ray.train import PreemptionError, WorkerGroupError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from volano.errors import Code, TrainError, VolanoError
from volano.train.deaths import Death, End, explain, memory_kills, of_exception
from volano.train.layout import FAILURES
from volano.train.worker_log import last_start, log_path, open_log, was_asked_to_end

logger = logging.getLogger(__name__)
ONCE = ray.train.FailureConfig(max_failures=0, max_preemption_failures=0, controller_failure_limit=4)  # type: ignore[call-arg] # types of its V1
"""Ray starts no workers again that have worked: it would not say why they ended. For room it waits a minute at a time,
five times: without a limit, more workers than the cluster holds would be waited for for ever."""
_ASK_S = 20.0
"""How long a machine may take to say whether it killed for memory."""
_UNREACHABLE = "is gone from the cluster, or does not answer"
_SIGNALLED = ("receives a SIGTERM", "received SIGTERM", "reemption", "terminated expectedly")


def begin_log(output: Path) -> None:
    """Begin this worker's log in the run's folder, with what `explained` has to know when the worker is dead."""
    context = ray.train.get_context()
    facts = {
        "world": context.get_world_size(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "node": ray.get_runtime_context().get_node_id(),
        "memory_kills": memory_kills(),
    }
    open_log(output, context.get_world_rank(), facts)


def explained(failure: Exception, output: Path) -> VolanoError:
    """The error that tells why the workers of a run ended, or Ray's controller of them."""
    if isinstance(failure, WorkerGroupError):
        return explain([_death(rank, one, output) for rank, one in sorted(failure.worker_failures.items())])
    if isinstance(failure, PreemptionError):
        return explain([Death(rank=0, end=End.PREEMPTED, said=_first_line(failure))])
    cause = getattr(failure, "controller_failure", failure)
    if isinstance(cause, OutOfMemoryError):
        return explain([Death(rank=0, end=End.MEMORY, said="with it, or before it, Ray ended the run's controller")])
    if isinstance(cause, ActorUnavailableError):
        return explain([Death(rank=0, end=End.NODE, said=f"{_UNREACHABLE}: {_first_line(cause)}")])
    if isinstance(cause, RayActorError):  # a worker that died while the controller still started the others
        return explain([_death(_rank_of(cause, output), cause, output)])
    if type(cause).__name__ == "WorkerGroupStartupTimeoutError":
        room = f"the cluster had no room for {cause.num_workers} workers within some minutes"  # type: ignore[union-attr]
        fix = "add nodes and start the same command again, or ask for fewer with --workers"
        return TrainError(Code.TRAIN_FAILED, room, fix)
    fix = "look at Ray's own logs, then start the same command again"
    return TrainError(Code.TRAIN_FAILED, f"Ray's controller failed: {cause}", fix)


def note(error: VolanoError, output: Path, *, at: float, checkpoint: str, again: bool) -> None:
    """Keep a failure in the run's folder, and tell it."""
    line = {"at": at, "code": error.code, "cause": error.cause, "checkpoint": checkpoint, "again": again}
    with (output / FAILURES).open("a") as stream:
        stream.write(json.dumps(line) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    if again:
        logger.warning(
            "%s  %s\n  the workers start again at %s", error.code, error.cause, checkpoint or "the beginning"
        )


@contextmanager
def asked_to_end() -> Iterator[None]:
    """Within it, SIGTERM raises TrainError(E-TRAIN-009): whoever takes back a machine sends it first."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        signal(SIGTERM, SIG_IGN)  # a second one must not end what this one begins to end
        raise TrainError(
            Code.TRAIN_PREEMPTED,
            "this command was asked to end (SIGTERM)",
            "start the same command again: it goes on from the newest complete checkpoint",
        )

    before = signal(SIGTERM, end)
    try:
        yield
    finally:
        signal(SIGTERM, before or SIG_DFL)


def _death(rank: int, failure: BaseException, output: Path) -> Death:
    facts, last = last_start(output, rank)
    died = getattr(failure, "health_check_failure", failure)  # of a process; else it is what the worker raised
    if not isinstance(died, RayError):
        if type(failure).__name__ == "WorkerHealthCheckTimeoutError":
            return Death(rank=rank, end=End.NODE, said=str(failure).splitlines()[0], last=tuple(last))
        return of_exception(rank, died, last)
    said, end = _first_line(died), End.KILLED
    if isinstance(died, OutOfMemoryError):
        end, said = End.MEMORY, f"Ray ended it before its machine {facts.get('host', '')} had none left"
    elif _is_preempted(died) or was_asked_to_end(output, rank):
        end, said = End.PREEMPTED, f"SIGTERM on {facts.get('host', 'its machine')}"
    elif isinstance(died, NodeDiedError | ActorUnavailableError) or "node has died" in str(died) or _is_gone(facts):
        end, said = End.NODE, f"{facts.get('host', 'its machine')} {_UNREACHABLE}"
    elif isinstance(died, RayActorError) and _killed_for_memory(facts):
        end, said = End.MEMORY, f"the kernel of {facts.get('host', 'its machine')} killed it"
    elif isinstance(died, RayActorError):
        said = f"process {facts.get('pid', 'unknown')} on {facts.get('host', 'its machine')}, {log_path(output, rank)}"
    return Death(rank=rank, end=end, said=said, last=tuple(last))


def _is_preempted(died: BaseException) -> bool:
    return getattr(died, "preempted", False) or any(mark in str(died) for mark in _SIGNALLED)


def _is_gone(facts: dict[str, object]) -> bool:
    """Whether the cluster knows already that the worker's machine is: for some seconds it does not."""
    known = facts.get("node")
    return known is not None and any(node["NodeID"] == known and not node["Alive"] for node in ray.nodes())


def _rank_of(died: RayActorError, output: Path) -> int:
    """The rank whose process it was; 0 when no log tells."""
    found = re.search(r"\bpid: (\d+)", str(died))
    ranks = [int(path.stem.removeprefix("rank-")) for path in log_path(output, 0).parent.glob("rank-*.log")]
    own = [rank for rank in ranks if found and last_start(output, rank)[0].get("pid") == int(found[1])]
    return min(own, default=0)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _killed_for_memory(facts: dict[str, object]) -> bool:
    """Whether the worker's machine has killed for memory since the worker began."""
    before, node = facts.get("memory_kills"), facts.get("node")
    if not isinstance(before, int) or not isinstance(node, str):
        return False
    if node == ray.get_runtime_context().get_node_id():
        return memory_kills() > before
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    asked = ray.remote(memory_kills).options(num_cpus=0, scheduling_strategy=there, max_retries=0).remote()
    try:
        return int(ray.get(asked, timeout=_ASK_S)) > before
    except RayError:  # gone, or too slow; GetTimeoutError is one
        return False
