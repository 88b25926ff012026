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


def connect() -> None:
    """Join the cluster named by RAY_ADDRESS, or start one of this machine's cores for this process."""
    if ray.is_initialized():
        return
    address = os.environ.get(ADDRESS, "local")
    environment = {"PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
    try:
        ray.init(
            address=address,
            runtime_env={"env_vars": environment},
            log_to_driver=False,
            logging_level=logging.WARNING,
            include_dashboard=False if address == "local" else None,
        )
    except (ConnectionError, ValueError) as error:
        raise SystemMissingError(
            Code.CLUSTER_UNREACHABLE,
            f"no Ray cluster at {address!r}: {error}",
            f"start it, check the token (RAY_AUTH_TOKEN), or unset {ADDRESS} to run on this machine",
        ) from error
