"""That a gateway runs ends with its process, and its status is never half of one."""

import subprocess
import sys
from pathlib import Path

import pytest

from volano.errors import Code, ServeError
from volano.inference.running import GatewayFolder, GatewayStatus

STATUS = GatewayStatus(
    pid=1, url="ws://127.0.0.1:1", watch="http://127.0.0.1:2", looked_at=5.0, policies={"a" * 64: ""}
)
CHILD = """
import sys; from pathlib import Path
from volano.inference.running import GatewayFolder, GatewayStatus
folder = GatewayFolder(Path(sys.argv[1])); folder.occupy()
folder.tell(GatewayStatus(pid=7, url='ws://h:1', watch='', looked_at=1.0, policies={}))
print('there', flush=True); sys.stdin.read()
"""


def test_nothing_runs_where_nothing_was_started(tmp_path: Path) -> None:
    folder = GatewayFolder(tmp_path)
    assert not folder.occupied()
    assert folder.status() is None
    assert list(tmp_path.iterdir()) == []


def test_a_killed_gateway_runs_no_longer_whatever_it_said(tmp_path: Path) -> None:
    folder = GatewayFolder(tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "there\n"
    found = folder.status()
    assert found is not None
    assert (found.pid, found.url) == (7, "ws://h:1")
    with pytest.raises(ServeError) as caught:
        folder.occupy()
    assert caught.value.code is Code.SERVE_UNAVAILABLE
    child.kill()
    child.communicate()
    assert not folder.occupied()
    assert folder.status() is None
    folder.occupy()
    assert folder.occupied()
    assert folder.status() is None, "a new gateway does not inherit the old one's words"
    folder.tell(STATUS)
    assert folder.status() == STATUS


@pytest.mark.parametrize(
    ("problems", "settled"),
    [([], True), ([""], True), (["", "E-POLICY-002 changed"], True), (["", "its replicas are starting"], False)],
)
def test_waiting_ends_when_every_policy_is_ready_or_refused(problems: list[str], settled: bool) -> None:
    policies = {str(number): problem for number, problem in enumerate(problems)}
    status = GatewayStatus(pid=1, url="", watch="", looked_at=5.0, policies=policies)
    assert status.settled(5.0) is settled
    assert not status.settled(5.1), "what it read before says nothing about what the ledger names now"
    assert list(status.refused.values()) == [problem for problem in problems if problem.startswith("E-")]
