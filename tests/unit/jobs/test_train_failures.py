"""The ends of a training's workers are told apart, whoever complained first."""

import json
from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError, RayActorError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError, WorkerHealthCheckFailedError
from ray.train.v2._internal.execution.failure_handling.default import DefaultFailurePolicy
from ray.train.v2._internal.execution.failure_handling.failure_policy import FailureDecision

from jobs.train_failures import ONCE, explained, note
from volano.errors import Code, StorageError, TrainError
from volano.train.layout import FAILURES
from volano.train.worker_log import log_path

CLOSED = RuntimeError("[transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4321")
KILLED = ActorDiedError()
NODE = RayActorError(error_msg="The actor died because its node has died. Node Id: 12ab")
TAKEN = RayActorError(error_msg="its node has died", preempted=True)
ASKED = RayActorError(error_msg="Exit code: 1. The process receives a SIGTERM.")
NAN = TrainError(Code.TRAIN_NOT_FINITE, "the loss of step 3 is not finite: scout episode 01 tick 2", "look at it")


@pytest.mark.parametrize(
    ("failures", "code", "who"),
    [
        ({0: CLOSED, 1: KILLED}, Code.TRAIN_KILLED, "rank 1 "),
        ({0: CLOSED, 1: WorkerHealthCheckFailedError("health", KILLED)}, Code.TRAIN_KILLED, "rank 1 "),
        ({0: CLOSED, 2: NODE, 3: NODE}, Code.TRAIN_LOST_NODE, "rank 2 "),
        ({0: CLOSED, 1: ActorUnavailableError("Connection refused", None)}, Code.TRAIN_LOST_NODE, "does not answer"),
        (
            {0: CLOSED, 1: RayActorError(error_msg="Exit code: 1. The process receives a SIGTERM.")},
            Code.TRAIN_PREEMPTED,
            "asked to end",
        ),
        ({0: CLOSED, 1: TAKEN}, Code.TRAIN_PREEMPTED, "rank 1 "),
        ({0: CLOSED, 1: OutOfMemoryError("the node is low on memory")}, Code.TRAIN_OUT_OF_MEMORY, "rank 1 "),
        ({0: RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")}, Code.TRAIN_OUT_OF_MEMORY, "rank 0 "),
        ({0: CLOSED, 1: MemoryError()}, Code.TRAIN_OUT_OF_MEMORY, "rank 1 "),
        ({0: CLOSED, 1: NAN}, Code.TRAIN_NOT_FINITE, "episode 01"),
        ({0: CLOSED, 1: KeyError("wrist")}, Code.TRAIN_EXCEPTION, "KeyError: 'wrist'"),
        ({0: CLOSED, 1: CLOSED}, Code.TRAIN_FAILED, "rank 0 lost its connection"),
    ],
)
def test_what_died_comes_before_what_complained(
    tmp_path: Path, failures: dict[int, Exception], code: Code, who: str
) -> None:
    error = explained(WorkerGroupError("", failures), tmp_path)
    assert error.code == code
    assert who in error.cause


@pytest.mark.parametrize(("pid", "who"), [(4712, "rank 1 died"), (9, "rank 0 died")])
def test_a_worker_may_die_before_the_last_has_started(tmp_path: Path, pid: int, who: str) -> None:
    log_path(tmp_path, 1).parent.mkdir()
    for rank, own in enumerate((4711, 4712)):
        log_path(tmp_path, rank).write_text(f'worker begins: {{"pid": {own}}}\nlast words of {own}\n')
    died = RayActorError(error_msg=f"The actor died unexpectedly before finishing this task.\n\tpid: {pid}\n\tip: 1")
    error = explained(ControllerError(died), tmp_path)
    assert error.code == Code.TRAIN_KILLED
    assert who in error.cause
    assert "last words" in error.cause


def test_workers_for_which_there_is_no_room_are_not_waited_for_without_end(tmp_path: Path) -> None:
    failure = ControllerError(WorkerGroupStartupTimeoutError(8))
    policy = DefaultFailurePolicy(ONCE)  # type: ignore[arg-type] # types of its V1
    decisions = [policy.make_decision(failure) for _ in range(20)]
    assert decisions[0] is FailureDecision.RETRY, "a node that was lost may come back"
    assert decisions[-1] is FailureDecision.RAISE
    error = explained(failure, tmp_path)
    assert error.code == Code.TRAIN_FAILED
    assert "no room for 8 workers" in error.cause
    assert "--workers" in error.fix


def test_the_dead_ranks_last_lines_are_told(tmp_path: Path) -> None:
    log_path(tmp_path, 1).parent.mkdir()
    log_path(tmp_path, 1).write_text("".join(f"line {number}\n" for number in range(100)))
    cause = explained(WorkerGroupError("", {0: CLOSED, 1: KILLED}), tmp_path).cause
    assert cause.endswith("line 99")
    assert "line 87" not in cause


def test_every_failure_stays_in_the_runs_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    note(NAN, tmp_path, at=1.0, checkpoint="", again=False)
    note(StorageError(Code.STORE_UNAVAILABLE, "away", "wait"), tmp_path, at=2.0, checkpoint="step-7", again=True)
    lines = [json.loads(line) for line in (tmp_path / FAILURES).read_text().splitlines()]
    assert [(line["code"], line["checkpoint"], line["again"]) for line in lines] == [
        ("E-TRAIN-002", "", False),
        ("E-STORE-004", "step-7", True),
    ]
    assert "the workers start again at step-7" in caplog.text
