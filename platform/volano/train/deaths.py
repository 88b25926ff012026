"""Why workers ended, told apart by code, and whether it makes sense to start them again.

What a cluster says of a dead process is the same for a signal, a crash and the kernel's killer; so a worker keeps a log
in the run's folder and notes how often its machine has killed for memory, and whoever outlives it compares.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from volano.errors import Code, TrainError, VolanoError

_KERNEL = Path("/proc/vmstat")
_FRUITLESS = 3
"""So many ends one after another without a new checkpoint between them are the last."""
_TAKEN_BACK = 30
"""So many machines taken back without a new checkpoint as well. Real ones come to a few between two checkpoints; what
ends with SIGTERM each time, as under a limit that someone has set, would start for ever and train nothing."""
_TRANSIENT = {
    Code.STORE_FULL,
    Code.STORE_UNAVAILABLE,
    Code.TRAIN_CHECKPOINT_WRITE,
    Code.TRAIN_FAILED,
    Code.TRAIN_OUT_OF_MEMORY,
    Code.TRAIN_PREEMPTED,
    Code.TRAIN_LOST_NODE,
    Code.TRAIN_KILLED,
    Code.TRAIN_EXCEPTION,
    Code.TRAIN_FEED,
}
"""What may not happen again when the same is done again."""
_MEMORY = ("OutOfMemoryError", "MemoryError")
_MEMORY_SAID = ("can't allocate memory", "not enough memory", "CUDA out of memory", "Cannot allocate memory")
_TORN = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "process group", "timed out")
"""In what workers raise when another one has ended."""


class End(IntEnum):
    """How a worker ended; of several, the lowest explains the others."""

    SAID = 0
    """It raised an error of ours, with a code."""
    MEMORY = 1
    PREEMPTED = 2
    NODE = 3
    KILLED = 4
    RAISED = 5
    TORN = 6
    """It lost its connection to another."""


@dataclass(frozen=True, kw_only=True)
class Death:
    """One worker's end."""

    rank: int
    end: End
    said: str
    """What is known of it, in one line."""
    raised: BaseException | None = None
    last: tuple[str, ...] = ()
    """The end of its log."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """One time all workers ended before the training did."""

    code: Code
    checkpoint: str
    """The newest complete one at that time; empty without any."""


def of_exception(rank: int, raised: BaseException, last: Sequence[str] = ()) -> Death:
    """The end of a worker that raised."""
    end, words = End.RAISED, str(raised)
    if isinstance(raised, VolanoError):
        end = End.SAID
    elif type(raised).__name__.endswith(_MEMORY) or any(mark in words for mark in _MEMORY_SAID):
        end = End.MEMORY
    elif isinstance(raised, RuntimeError | ConnectionError) and any(mark in words.lower() for mark in _TORN):
        end = End.TORN
    line = next((line.strip() for line in words.splitlines() if line.strip()), "")
    return Death(rank=rank, end=end, said=f"{type(raised).__name__}: {line}", raised=raised, last=tuple(last))


def explain(deaths: Sequence[Death]) -> VolanoError:
    """Why the workers ended: the error of the one whose end explains the others'."""
    first = min(deaths, key=lambda death: (death.end, death.rank))
    if isinstance(first.raised, VolanoError):
        return first.raised
    code, what, fix = _WORDS[first.end]
    lines = [f"rank {first.rank} {what}: {first.said}"]
    if first.last:
        lines += ["its last lines:", *(f"  {line}" for line in first.last)]
    return TrainError(code, "\n  ".join(lines), fix)


_AGAIN = "start the same command again: it goes on from the newest complete checkpoint"
_WORDS = {
    End.MEMORY: (
        Code.TRAIN_OUT_OF_MEMORY,
        "ran out of memory",
        "ask `volano train plan` what fits; use smaller batches, engine.recompute=true or a higher engine.zero_stage",
    ),
    End.PREEMPTED: (Code.TRAIN_PREEMPTED, "was asked to end", _AGAIN),
    End.NODE: (Code.TRAIN_LOST_NODE, "lost its machine", _AGAIN),
    End.KILLED: (
        Code.TRAIN_KILLED,
        "died without a word, and not of memory as far as its machine knows",
        f"see its log, and the kernel's; {_AGAIN}",
    ),
    End.RAISED: (Code.TRAIN_EXCEPTION, "raised what nobody expected", "see its log for the traceback, and report it"),
    End.TORN: (Code.TRAIN_FAILED, "lost its connection to the others", _AGAIN),
}


def goes_on(ended: Sequence[Ended]) -> bool:
    """Whether to start the workers again after the last of these: not what would only repeat itself, and not without
    end where no checkpoint is reached. A machine that is taken back is no failure of the run, and counts apart."""
    if not ended or ended[-1].code not in _TRANSIENT:
        return False
    same = [one for one in ended if one.checkpoint == ended[-1].checkpoint]
    taken = sum(one.code is Code.TRAIN_PREEMPTED for one in same)
    return len(same) - taken < _FRUITLESS and taken < _TAKEN_BACK


def memory_kills(kernel: Path = _KERNEL) -> int:
    """How many processes this machine has killed for memory since it began; 0 where it does not say."""
    try:
        found = dict(line.split() for line in kernel.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(found.get("oom_kill", 0))
