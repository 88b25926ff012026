"""What a gateway counts, for Prometheus; `infra/monitoring` shows and watches it by these names.

Labels have few values whatever strangers send: a protocol's name, a code of ours, a digest that the ledger named, an
enrolled robot's name. Nothing that a robot says is a label.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from serving.routes import Access
from volano.errors import Code

PHASES = ("read", "route", "policy", "write")
"""Of an answer: decode and check, find the policy, ask it, encode the answer."""
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_BATCHES = (1, 2, 3, 4, 6, 8, 16, 32)
_HOLD = "E-SERVE-"
Labelled = TypeVar("Labelled", Counter, Gauge, Histogram)


class Metrics:
    """Of one gateway. `text` may be called by any thread, everything else by the gateway's loop."""

    def __init__(self) -> None:
        self._registry = made = CollectorRegistry()
        ProcessCollector(registry=made)
        asked = ["protocol", "policy", "outcome"]
        self._requests = Counter("volano_serving_requests", "Requests of known robots.", asked, registry=made)
        self._phases = Histogram(
            "volano_serving_phase_seconds",
            "What an answer spends where: read, route, policy, write.",
            ["protocol", "phase"],
            buckets=_SECONDS,
            registry=made,
        )
        self._age = Histogram(
            "volano_serving_observation_age_seconds",
            "Age of an observation, since its last byte came, when its actions were there.",
            ["protocol"],
            buckets=_SECONDS,
            registry=made,
        )
        self._holds = Counter(
            "volano_serving_holds", "Answers that tell a robot to fall back.", ["protocol", "code"], registry=made
        )
        self._refusals = Counter(
            "volano_serving_refusals", "Sockets, keys and frames refused.", ["protocol", "code"], registry=made
        )
        self._sockets = Gauge("volano_serving_open_sockets", "Open sockets.", ["protocol"], registry=made)
        self._seen = Gauge(
            "volano_serving_robot_seen_timestamp_seconds",
            "When an enrolled robot asked last, in Unix time.",
            ["robot"],
            registry=made,
        )
        self._robots = Gauge("volano_serving_robots", "Robots that asked within the last minute.", registry=made)
        self._episodes = Counter("volano_serving_episodes", "Episodes that were begun.", ["policy"], registry=made)
        self._batches = Histogram(
            "volano_serving_answer_batch_size",
            "Observations in the batch that an answer was made in.",
            buckets=_BATCHES,
            registry=made,
        )
        self._computed = Histogram(
            "volano_serving_policy_compute_seconds",
            "What the policy computed for an answer; the rest of the phase policy is waiting.",
            buckets=_SECONDS,
            registry=made,
        )
        self._replicas = Gauge(
            "volano_serving_replicas", "Replicas by state: alive, draining.", ["policy", "state"], registry=made
        )
        self._ready = Gauge("volano_serving_ready", "1 while every policy that is wanted answers.", registry=made)
        self._looked = Gauge(
            "volano_serving_look_timestamp_seconds", "When ledger and cluster were looked at last.", registry=made
        )
        self._expiry = Gauge(
            "volano_serving_certificate_expiry_timestamp_seconds",
            "When the platform's certificate expires, in Unix time; 0 without TLS.",
            registry=made,
        )
        self._dropped = Counter(
            "volano_serving_dropped_lines", "Lines that the access log could not take.", registry=made
        )
        self._seen_at: dict[str, float] = {}
        self._shown: set[tuple[str, str]] = set()
        """Of `_replicas`: policies and states."""
        self._children: dict[tuple[object, ...], Any] = {}
        """Metrics by their labels: to find them in the library takes most of the time of a count."""

    def note(self, access: Access) -> None:
        """One request of a known robot, answered or not."""
        self._of(self._requests, access.protocol, access.policy[:12], access.outcome).inc()
        if access.outcome.startswith(_HOLD):
            self._of(self._holds, access.protocol, access.outcome).inc()
        elif access.outcome != "answered":
            self._of(self._refusals, access.protocol, access.outcome).inc()
        else:
            self.spent(access.protocol, "read", access.read_s)
            self.spent(access.protocol, "route", access.route_s)
            self.spent(access.protocol, "policy", access.policy_s)
            self._of(self._age, access.protocol).observe(access.latency_s)
        self._seen_at[access.robot] = access.at

    def spent(self, protocol: str, phase: str, seconds: float) -> None:
        """A phase of `PHASES` that an answer went through."""
        self._of(self._phases, protocol, phase).observe(seconds)

    def connected(self, protocol: str, more: int) -> None:
        """A socket was opened (1) or closed (-1)."""
        self._of(self._sockets, protocol).inc(more)

    def refused(self, protocol: str, code: Code) -> None:
        """A socket, a key or a request of nobody."""
        self._of(self._refusals, protocol, code.value).inc()

    def began(self, policy: str) -> None:
        """A policy got an episode."""
        self._of(self._episodes, policy[:12]).inc()

    def batched(self, size: int, computed_s: float) -> None:
        """An answer came out of a batch of that size, which was computed in so many seconds."""
        self._batches.observe(size)
        self._computed.observe(computed_s)

    def dropped(self, lines: int) -> None:
        """The access log lost lines."""
        self._dropped.inc(lines)

    def _of(self, metric: Labelled, *labels: str) -> Labelled:
        key = (metric, labels)
        found: Labelled | None = self._children.get(key)
        if found is None:
            found = self._children[key] = metric.labels(*labels)
        return found

    def stands(self, *, replicas: Mapping[tuple[str, str], int], looked_at: float, expires_at: float) -> None:
        """How things stand: replicas by policy and state, and when what happened or will, in Unix seconds."""
        shown = {(policy[:12], state): number for (policy, state), number in replicas.items()}
        for labels, number in shown.items():
            self._replicas.labels(*labels).set(number)
        for gone in self._shown - shown.keys():
            self._replicas.remove(*gone)
        self._shown = set(shown)
        self._looked.set(looked_at)
        self._expiry.set(expires_at)

    def text(self, now: float, *, ready: bool) -> bytes:
        """Everything, as Prometheus reads it; `now` in Unix seconds, `ready`: robots may be sent here."""
        self._ready.set(ready)
        seen = dict(self._seen_at)
        for robot, at in seen.items():
            self._seen.labels(robot).set(at)
        self._robots.set(sum(now - at <= 60 for at in seen.values()))
        return generate_latest(self._registry)
