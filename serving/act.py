"""Policies as Ray Serve applications: one per digest, and the gateway's door to them.

`Applications.look` brings what runs to what is wanted and says which policies are ready; a policy is ready once its
replicas answered. What runs belongs to the Ray cluster, not to this process: killed and started again, it is found.
Serve's own HTTP proxy is never started.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from numpy.typing import NDArray
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview

from serving.replica import MAX_BATCH, Replica
from volano.errors import Code, ServeError, VolanoError

_LOG = logging.getLogger(__name__)
_PREFIX = "policy-"
_READY_S = 3.0
"""Longest that one look waits for a replica to say that it is ready; the next look asks again."""
_RETRY_S = 60.0
"""From a failed deployment to the next attempt."""
_RETRY_REFUSED_S = 900.0
"""The same for a policy whose files or signature were refused."""
_CODED = re.compile(r"(E-[A-Z]+-\d{3})  (.{1,200})")
STARTING = "its replicas are starting"


class Applications:
    """The policies that run on the cluster. `look` is called by one thread, everything else by any."""

    def __init__(
        self,
        store: str,
        trusted: Sequence[Ed25519PublicKey],
        *,
        num_replicas: int = 1,
        num_cpus: float = 0.2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`store` is the URL of the policies' store as the replicas reach it, `num_cpus` what one replica reserves,
        `clock` monotonic seconds. Ray is connected already; Serve starts now."""
        self._arguments = (store, [key.public_bytes_raw() for key in trusted])
        self._options: dict[str, Any] = {
            "num_replicas": num_replicas,
            "ray_actor_options": {"num_cpus": num_cpus},
            "max_ongoing_requests": 4 * MAX_BATCH,
            "max_constructor_retry_count": 1,
            "graceful_shutdown_timeout_s": 5.0,
            "logging_config": {"enable_access_log": False},
        }
        self._clock = clock
        self._handles: dict[str, Any] = {}
        self._problems: dict[str, str] = {}
        self._retry_at: dict[str, float] = {}
        self._closed = False
        serve.start(proxy_location="Disabled")

    def problem(self, policy: str) -> str:
        """Why a policy cannot answer now; empty when it is ready."""
        return "" if policy in self._handles else self._problems.get(policy, STARTING)

    def handle(self, policy: str) -> Any:
        """Serve's handle of a ready policy; raises ServeError(E-SERVE-001)."""
        handle = self._handles.get(policy)
        if handle is None:
            raise ServeError(
                Code.SERVE_UNAVAILABLE, f"policy {policy[:12]} is not ready: {self.problem(policy)}", "wait or retry"
            )
        return handle

    def close(self) -> None:
        """Let a look under way end within seconds, and change nothing more: Serve is about to be shut down."""
        self._closed = True

    def look(self, wanted: frozenset[str]) -> dict[str, str]:
        """Deploy what is missing, remove what is not wanted, and return each wanted policy's `problem`."""
        found = {
            name.removeprefix(_PREFIX): overview
            for name, overview in serve.status().applications.items()
            if name.startswith(_PREFIX)
        }
        for policy in sorted(found.keys() - wanted):
            self._remove(policy)
        for policy in sorted(wanted & found.keys()):
            if not self._closed:
                self._judge(policy, found[policy])
        now = self._clock()
        due = [policy for policy in sorted(wanted - found.keys()) if self._retry_at.get(policy, now) <= now]
        for policy in wanted - found.keys():
            self._handles.pop(policy, None)
        if due and not self._closed:
            self._deploy(due)
        return {policy: self.problem(policy) for policy in sorted(wanted)}

    def _judge(self, policy: str, overview: ApplicationStatusOverview) -> None:
        status = overview.status
        if status == ApplicationStatus.RUNNING:
            if policy not in self._handles:
                self._greet(policy)
            return
        self._handles.pop(policy, None)
        if status == ApplicationStatus.DEPLOY_FAILED:
            message = "\n".join([overview.message, *(part.message for part in overview.deployments.values())])
            coded = _CODED.search(message)
            self._problems[policy] = f"{coded[1]} {coded[2]}" if coded else "its replicas do not start"
            refused = coded is not None and coded[1].startswith("E-POLICY")
            self._retry_at[policy] = self._clock() + (_RETRY_REFUSED_S if refused else _RETRY_S)
            _LOG.error("policy %s cannot be served: %s", policy, message)
            serve.delete(_PREFIX + policy, _blocking=False)
        elif status == ApplicationStatus.UNHEALTHY:
            self._problems[policy] = "its replicas are unhealthy"

    def _greet(self, policy: str) -> None:
        """Ask a policy's replicas whether they are ready; one that does not answer keeps no other policy waiting."""
        handle = serve.get_app_handle(_PREFIX + policy)
        answer: Any = handle.ready.remote()
        try:
            answer.result(timeout_s=_READY_S)
        except (TimeoutError, RayError):
            answer.cancel()
            _LOG.exception("policy %s does not answer", policy)
            self._problems[policy] = "its replicas do not answer"
            return
        self._problems.pop(policy, None)
        self._handles[policy] = handle
        _LOG.info("policy %s is ready", policy)

    def _deploy(self, policies: Sequence[str]) -> None:
        deployment = serve.deployment(**self._options)(Replica)
        targets = [
            serve.RunTarget(target=deployment.bind(policy, *self._arguments), name=_PREFIX + policy, route_prefix=None)
            for policy in policies
        ]
        for policy in policies:
            _LOG.info("deploying policy %s", policy)
            self._retry_at.pop(policy, None)
        serve.run_many(targets, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)

    def _remove(self, policy: str) -> None:
        for table in (self._handles, self._problems, self._retry_at):
            table.pop(policy, None)
        _LOG.info("removing policy %s", policy)
        serve.delete(_PREFIX + policy, _blocking=False)


class RayAct:
    """Implements `serving.routes.Act` over the replicas."""

    def __init__(self, applications: Applications) -> None:
        self._applications = applications

    async def __call__(self, policy: str, observation: Mapping[str, Any]) -> NDArray[np.floating]:
        """A chunk from one of the policy's replicas. Raises ServeError when it is not ready, and what the replica
        raised."""
        response = self._applications.handle(policy).act.remote(dict(observation))
        try:
            chunk: NDArray[np.floating] = await response
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, VolanoError):
                raise cause from None
            raise
        except asyncio.CancelledError:
            response.cancel()
            raise
        return chunk
