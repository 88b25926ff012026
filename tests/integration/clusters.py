"""Clusters of Ray whose nodes are processes of this test. A raylet sometimes ends before its first word, and Ray waits
30 seconds for it and gives up; such a node is started once more."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from ray.cluster_utils import Cluster

logger = logging.getLogger(__name__)
_Started = TypeVar("_Started")
_STARTS = 3


def begin_cluster(cpus: int) -> Cluster:
    """A cluster of one node without a dashboard."""
    return _again(lambda: Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, "include_dashboard": False}))


def add_node(cluster: Cluster) -> Any:
    """One more node with one core; Ray gives its nodes no public type."""
    return _again(lambda: cluster.add_node(num_cpus=1))


def _again(start: Callable[[], _Started]) -> _Started:
    for left in reversed(range(_STARTS)):
        try:
            return start()
        except Exception as error:  # Ray raises nothing narrower
            if not left or "timed out during startup" not in str(error):
                raise
            logger.warning("a node did not start, once more: %s", error)
    raise AssertionError("unreachable")
