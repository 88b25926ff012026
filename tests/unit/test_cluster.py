"""Joining a cluster: what Ray does not manage at the first try, and what is said when it never does."""

import pytest
import ray

from volano import cluster
from volano.errors import Code, SystemMissingError


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """What Ray raises, try by try."""
    planned: list[Exception] = []

    def init(**_: object) -> None:
        if planned:
            raise planned.pop(0)

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.delenv(cluster.ADDRESS, raising=False)
    return planned


def test_a_node_that_does_not_start_once_is_started_again(tries: list[Exception]) -> None:
    tries.append(Exception("The current node timed out during startup."))
    cluster.connect()
    assert not tries


def test_a_node_that_never_starts_is_told(tries: list[Exception]) -> None:
    tries.extend(Exception("The current node timed out during startup.") for _ in range(5))
    with pytest.raises(SystemMissingError, match="did not start") as told:
        cluster.connect()
    assert told.value.code is Code.CLUSTER_UNREACHABLE


def test_a_cluster_that_is_not_there_is_told_at_once(tries: list[Exception]) -> None:
    tries.extend(ConnectionError("refused") for _ in range(2))
    with pytest.raises(SystemMissingError, match="no Ray cluster") as told:
        cluster.connect()
    assert told.value.code is Code.CLUSTER_UNREACHABLE
    assert len(tries) == 1
