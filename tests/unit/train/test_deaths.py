"""Of several workers' ends the one that explains the others is told, and only what may help is tried again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from volano.errors import Code, StorageError, TrainError
from volano.train.deaths import Death, End, Ended, explain, goes_on, memory_kills, of_exception

NAN = TrainError(Code.TRAIN_NOT_FINITE, "the loss is not finite", "lower the rate")
TORN = RuntimeError("[gloo/transport/tcp/pair.cc:598] Connection closed by peer [127.0.0.1]:4711")


@pytest.mark.parametrize(
    ("raised", "end"),
    [
        (NAN, End.SAID),
        (StorageError(Code.STORE_FULL, "full", "make room"), End.SAID),
        (MemoryError("no room"), End.MEMORY),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), End.MEMORY),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"), End.MEMORY),
        (TORN, End.TORN),
        (ValueError("a defect"), End.RAISED),
        (ModuleNotFoundError("No module named 'absent'"), End.RAISED),
        (SystemExit(4), End.RAISED),
    ],
)
def test_what_a_worker_raised_is_told_apart(raised: BaseException, end: End) -> None:
    assert of_exception(0, raised).end is end


def test_numpy_too_runs_out_of_memory() -> None:
    with pytest.raises(MemoryError) as caught:
        np.empty(1 << 60, np.uint8)
    assert of_exception(0, caught.value).end is End.MEMORY


def test_a_lost_connection_never_hides_its_cause() -> None:
    torn = of_exception(0, TORN, ["step 7"])
    for end, code in (
        (End.MEMORY, Code.TRAIN_OUT_OF_MEMORY),
        (End.PREEMPTED, Code.TRAIN_PREEMPTED),
        (End.NODE, Code.TRAIN_LOST_NODE),
        (End.KILLED, Code.TRAIN_KILLED),
        (End.RAISED, Code.TRAIN_EXCEPTION),
    ):
        told = explain([torn, Death(rank=1, end=end, said="process 12", last=("step 8", "and no more"))])
        assert told.code is code
        assert "rank 1" in told.cause
        assert told.cause.endswith("its last lines:\n    step 8\n    and no more")
    assert explain([torn]).code is Code.TRAIN_FAILED
    assert explain([torn, of_exception(1, NAN)]) is NAN, "an error of ours says it best"


def ends(*codes: Code, checkpoint: str = "") -> list[Ended]:
    return [Ended(code=code, checkpoint=checkpoint) for code in codes]


def test_workers_start_again_while_that_leads_further() -> None:
    killed = Code.TRAIN_KILLED
    assert goes_on(ends(killed))
    assert goes_on(ends(killed, killed))
    assert not goes_on(ends(killed, killed, killed)), "three times at the same checkpoint"
    further = [ended for step in range(50) for ended in ends(killed, killed, checkpoint=f"step-{step}")]
    assert goes_on(further), "a long run outlives any number of deaths"


def test_what_would_repeat_itself_is_not_repeated() -> None:
    for code in (Code.TRAIN_NOT_FINITE, Code.TRAIN_DATA, Code.TRAIN_CHECKPOINT, Code.DATA_VERSION):
        assert not goes_on(ends(code))
    assert goes_on(ends(Code.STORE_UNAVAILABLE))


def test_machines_may_be_taken_back_often_but_not_without_end() -> None:
    taken = Code.TRAIN_PREEMPTED
    assert goes_on(ends(*[taken] * 29))
    assert not goes_on(ends(*[taken] * 30)), "a worker that is always asked to end"
    assert goes_on([*ends(*[taken] * 29), *ends(*[taken] * 29, checkpoint="step-1")])
    assert goes_on(ends(*[taken] * 29, Code.TRAIN_KILLED)), "what is taken back is no death, and a death no preemption"
    assert not goes_on(ends(*[Code.TRAIN_KILLED] * 3, taken, Code.TRAIN_KILLED))


def test_the_kernel_counts_what_it_killed_for_memory(tmp_path: Path) -> None:
    kernel = tmp_path / "vmstat"
    assert memory_kills(kernel) == 0
    kernel.write_text("pgfault 12\noom_kill 3\n")
    assert memory_kills(kernel) == 3
