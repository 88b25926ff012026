"""Policies as Ray Serve applications, one per digest.

`Applications.look` brings what runs to what is wanted, connects to it, and says which policies are ready: those with a
replica that is connected. What runs belongs to the Ray cluster, not to this process: killed and started again, it is
found. Serve's own HTTP proxy is never started, and no observation goes through Serve.
"""

import logging
import re
import time
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview

from serving.deployed import Deployed
from serving.door import Address
from serving.loads import Loads
from serving.permits import Permit
from serving.pool import Pool
from volano.errors import Code, PolicyError, StorageError
from volano.inference.protocols.own import Stage, Status
from volano.model.engine import REFERENCE, Engine, Parity

_LOG = logging.getLogger(__name__)
_PREFIX, _DIGEST = "policy-", 64
_READY_S = 3.0
"""Longest that one look waits for a replica to say that it is ready; the next look asks again."""
_RETRY_S = 60.0
"""From a failed deployment to the next attempt."""
_RETRY_REFUSED_S = 900.0
"""The same for a policy whose files or signature were refused."""
_CODED = re.compile(r"(E-[A-Z]+-\d{3})  (.{1,200})")
STARTING = "its replicas are starting"
WARMING = "its replicas are warming up"


class Applications:
    """The policies that run on the cluster. `look` is called by one thread, everything else by any."""

    def __init__(
        self,
        store: str,
        permit: Callable[[str], Permit],
        *,
        pool: Pool,
        loads: Loads,
        engine: Engine = REFERENCE,
        num_replicas: int = 1,
        num_cpus: float = 0.2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`store` is the URL of the policies' store as the replicas reach it, `permit` says of a digest that it may be
        loaded, or raises PolicyError, `num_cpus` is what one replica reserves, `pool` what connects to them, `loads`
        what remembers how long that took, `engine` how replicas compute, `clock` monotonic seconds. Ray is connected
        already; Serve starts now."""
        self._store = store
        self._permit = permit
        self._engine = engine
        self._suffix = f"-{engine.name}" if engine.name else ""
        self.parity: dict[str, tuple[Parity, ...]] = {}
        """Of each policy that answers in another engine than the reference."""
        self._options: dict[str, Any] = {
            "num_replicas": num_replicas,
            "ray_actor_options": {"num_cpus": num_cpus},
            "max_constructor_retry_count": 1,
            "graceful_shutdown_timeout_s": 5.0,
            "logging_config": {"enable_access_log": False},
        }
        self._clock = clock
        self._pool = pool
        self._loads = loads
        self._begun: dict[str, float] = {}
        """When policies were deployed that never answered yet."""
        self._problems: dict[str, str] = {}
        self._retry_at: dict[str, float] = {}
        self._unpermitted: set[str] = set()
        """Policies whose problem is that they may not be loaded."""
        self._withdrawn: set[str] = set()
        """Of those, the policies that are not released (any more)."""
        self._closed = False
        serve.start(proxy_location="Disabled")

    def problem(self, policy: str) -> str:
        """Why a policy cannot answer now; empty when it is ready."""
        return "" if self._pool.count(policy) else self._problems.get(policy, STARTING)

    def status(self, policy: str) -> Status | None:
        """How a policy stands that cannot answer; None when it is ready."""
        problem = self.problem(policy)
        if not problem:
            return None
        stages: dict[str, Stage] = {STARTING: "starting", WARMING: "warming"}
        now = self._clock()
        return Status(
            stage=stages.get(problem, "failed"),
            policy=policy,
            elapsed_s=now - self._begun.get(policy, now),
            expected_s=self._loads.expected_s,
            cause=problem.split(" ")[0] if problem.startswith("E-") else "",
        )

    def close(self) -> None:
        """Let a look under way end within seconds, and change nothing more: Serve is about to be shut down."""
        self._closed = True

    def look(self, named: Callable[[], frozenset[str]]) -> dict[str, str]:
        """Deploy what is missing, remove what is not wanted, and return each wanted policy's `problem`.

        Who is wanted is asked behind what runs: what another gateway deployed by then was named when it did."""
        running = {name: overview for name, overview in serve.status().applications.items() if name.startswith(_PREFIX)}
        wanted = named()
        names = {self._name(policy): policy for policy in wanted}
        for name in sorted(running.keys() - names):
            if _policy_of(name) not in wanted:  # another gateway may serve a wanted policy in another engine
                self._remove(name)
        found = {policy: running[name] for name, policy in names.items() if name in running}
        permits = self._permits(wanted, found.keys())
        for policy in sorted(wanted & found.keys() - self._withdrawn):
            if not self._closed:
                self._try_judge(policy, found[policy])
        now = self._clock()
        due = [policy for policy in sorted(permits.keys() - found.keys()) if self._retry_at.get(policy, now) <= now]
        if due and not self._closed:
            self._deploy({policy: permits[policy] for policy in due})
        return {policy: self.problem(policy) for policy in sorted(wanted)}

    def _name(self, policy: str) -> str:
        """Of its application."""
        return f"{_PREFIX}{policy}{self._suffix}"

    def _permits(self, wanted: Iterable[str], running: Container[str]) -> dict[str, Permit]:
        """What may be loaded of what is wanted; what runs and is not released any more is removed."""
        permits: dict[str, Permit] = {}
        self._withdrawn.clear()
        for policy in wanted:
            try:
                permits[policy] = self._permit(policy)
            except (PolicyError, StorageError) as error:
                if error.code is Code.POLICY_UNRELEASED:
                    self._withdrawn.add(policy)
                    if policy in running:
                        self._remove(self._name(policy))
                self._problems[policy] = f"{error.code} {error.cause}"
                self._unpermitted.add(policy)
            else:
                if policy in self._unpermitted:
                    self._unpermitted.discard(policy)
                    self._problems.pop(policy, None)
        return permits

    def _try_judge(self, policy: str, overview: ApplicationStatusOverview) -> None:
        """Judge a policy; whatever goes wrong there concerns no other one."""
        try:
            self._judge(policy, overview)
        except Exception:  # Serve's own errors have no base in common
            _LOG.exception("policy %s cannot be judged", policy)
            self._problems[policy] = "its replicas cannot be asked"

    def _judge(self, policy: str, overview: ApplicationStatusOverview) -> None:
        status = overview.status
        running = sum(
            number
            for part in overview.deployments.values()
            for state, number in part.replica_states.items()
            if state == "RUNNING"
        )
        if running > self._pool.count(policy):
            self._greet(policy)
        if status == ApplicationStatus.RUNNING:
            return
        if status == ApplicationStatus.DEPLOY_FAILED:
            self._fail(policy, "\n".join([overview.message, *(part.message for part in overview.deployments.values())]))
        elif status == ApplicationStatus.UNHEALTHY:
            self._problems[policy] = "its replicas are unhealthy"

    def _fail(self, policy: str, message: str) -> None:
        """Take a policy down that does not start, for a while."""
        coded = _CODED.search(message)
        self._problems[policy] = f"{coded[1]} {coded[2]}" if coded else "its replicas do not start"
        refused = coded is not None and coded[1].startswith("E-POLICY")
        self._retry_at[policy] = self._clock() + (_RETRY_REFUSED_S if refused else _RETRY_S)
        self._begun.pop(policy, None)
        _LOG.error("policy %s cannot be served: %s", policy, message)
        serve.delete(self._name(policy), _blocking=False)

    def _greet(self, policy: str) -> None:
        """Connect to a policy's replicas; one that does not answer keeps no other policy waiting."""
        asked = serve.get_app_handle(self._name(policy)).broadcast("address")
        try:
            told = asked.results(timeout_s=_READY_S, return_exceptions=True)
        except (TimeoutError, RayError):
            told = []
        addresses = [address for address in told if isinstance(address, Address)]
        refused = [str(one) for one in told if isinstance(one, Exception) and _CODED.search(str(one))]
        if refused and not addresses:
            self._fail(policy, refused[0])
            return
        if None in told and not addresses:
            self._problems[policy] = WARMING
            return
        if not addresses:
            _LOG.warning("policy %s does not answer", policy)
            self._problems[policy] = "its replicas do not answer"
            return
        self._problems.pop(policy, None)
        self._pool.join(policy, addresses)
        if self._pool.count(policy) and policy in self._begun:
            self._loads.note(self._clock() - self._begun.pop(policy))
        if self._suffix and policy not in self.parity:
            self._ask_parity(policy)
        _LOG.info("policy %s: %d of %d replicas are connected", policy, self._pool.count(policy), len(told))

    def _ask_parity(self, policy: str) -> None:
        try:
            told = serve.get_app_handle(self._name(policy)).broadcast("parity").results(timeout_s=_READY_S)
        except (TimeoutError, RayError):  # the next look asks again
            return
        self.parity |= {policy: told[0]} if told else {}

    def _deploy(self, policies: Mapping[str, Permit]) -> None:
        deployment = serve.deployment(**self._options)(Deployed)
        targets = [
            serve.RunTarget(
                target=deployment.bind(policy, self._store, permit, self._engine),
                name=self._name(policy),
                route_prefix=None,
            )
            for policy, permit in policies.items()
        ]
        for policy in policies:
            _LOG.info("deploying policy %s", policy)
            self._retry_at.pop(policy, None)
            self._problems.pop(policy, None)
            self._begun[policy] = self._clock()
        serve.run_many(targets, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)

    def _remove(self, name: str) -> None:
        policy = _policy_of(name)
        if name == self._name(policy):
            for table in (self._problems, self._retry_at, self._begun, self.parity):
                table.pop(policy, None)
            self._pool.leave(policy)
        _LOG.info("removing %s", name)
        serve.delete(name, _blocking=False)


def _policy_of(name: str) -> str:
    """The digest in an application's name."""
    return name.removeprefix(_PREFIX)[:_DIGEST]
