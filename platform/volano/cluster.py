"""The one place that connects to Ray and ships code to it."""

import logging
import os
from pathlib import Path

import ray

from volano.errors import Code, SystemMissingError

logger = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parents[2]
"""The source tree: applications run from it, and Ray workers get it on their path."""
ADDRESS = "RAY_ADDRESS"
"""Set by Ray itself for what `ray job submit` and KubeRay run."""
_STARTS = 2
_NOT_STARTED = "timed out during startup"
"""What Ray says when its node manager did not come up; it was seen to end before its first word."""


def connect() -> None:
    """Join the cluster named by RAY_ADDRESS, or start one of this machine's cores for this process.

    Raises SystemMissingError(E-CLUSTER-001) when there is none, and when this machine's does not start in two tries.
    """
    if ray.is_initialized():
        return
    address = os.environ.get(ADDRESS, "local")
    try:
        _join(address)
    except (ConnectionError, ValueError) as error:
        raise SystemMissingError(
            Code.CLUSTER_UNREACHABLE,
            f"no Ray cluster at {address!r}: {error}",
            f"start it, check the token (RAY_AUTH_TOKEN), or unset {ADDRESS} to run on this machine",
        ) from error


def _join(address: str) -> None:
    for left in reversed(range(_STARTS)):
        try:
            _initialize(address)
        except Exception as error:  # Ray raises nothing narrower when a process of its own does not start
            if _NOT_STARTED not in str(error):
                raise
            if not left:
                raise SystemMissingError(
                    Code.CLUSTER_UNREACHABLE,
                    f"Ray did not start on this machine: {error}",
                    "look for memory and disk that are full, then into the newest session's logs (/tmp/ray)",
                ) from error
            logger.warning("Ray did not start, once more: %s", error)
        else:
            return


def _initialize(address: str) -> None:
    environment = {"PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
    ray.init(
        address=address,
        runtime_env={"env_vars": environment},
        log_to_driver=False,
        logging_level=logging.WARNING,
        include_dashboard=False if address == "local" else None,
    )
