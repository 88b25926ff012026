"""What the steps over one home need beside them: a cluster, a gateway, and nothing left of an earlier run."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.flywheel.children import Children
from jobs.flywheel.gateway import GatewayKeeper
from jobs.flywheel.home import Home
from jobs.flywheel.machine import cluster_environment, free_port, start_cluster
from jobs.flywheel.plan import FlywheelPlan
from jobs.flywheel.steps import Steps
from volano.cluster import ADDRESS

_LOG = logging.getLogger("flywheel")


@contextmanager
def running(home: Home, plan: FlywheelPlan, *, tracked: bool) -> Iterator[tuple[Steps, GatewayKeeper]]:
    """The steps, and the gateway to make sure of before each that needs it; `tracked` says whether MLflow shows what is
    put in place. Ends all that it started."""
    environment = cluster_environment(home.root)
    os.environ.update(environment)
    children = Children(home.root / "processes", environment)
    if left := children.sweep():
        _LOG.info("an earlier run was killed and left %s running: ended", ", ".join(left))
    port = free_port()
    gateway = GatewayKeeper(home, children, port)
    try:
        dashboard = start_cluster(children, environment[ADDRESS], home.root)
        _LOG.info("Ray dashboard while this runs: http://127.0.0.1:%d", dashboard)
        yield Steps(home, plan, children, port, tracked=tracked), gateway
    finally:
        gateway.stop()
        children.sweep()
