"""The steps of a round, each one call that may be killed and repeated: what is done already is found done.

Everything heavy runs as a process of its own, by the same commands that people use. A step answers with plain data,
which the workflow keeps and the report shows.
"""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.flywheel.children import Children
from jobs.flywheel.home import Home
from jobs.flywheel.plan import FlywheelPlan
from volano.cluster import ROOT
from volano.data.build import accepted, build_version
from volano.data.conservation import count
from volano.data.episode import Manifest as EpisodeManifest
from volano.data.lines import read_lines, read_turns
from volano.embodiment.shipped import SHIPPED
from volano.evaluate.report import Evaluation
from volano.flywheel import reconcile
from volano.flywheel.champion import show_champion
from volano.flywheel.gate import GateDecision, decide
from volano.flywheel.mine import mine
from volano.flywheel.released import MODEL, record_release
from volano.inference.running import GatewayFolder
from volano.registry import repository, tracking
from volano.registry.describe import code_revision, describe, lineage_of
from volano.registry.keys import open_keys
from volano.registry.manifest import Manifest
from volano.registry.release import publish
from volano.rollout.plan import MinimumEvidence, Rollout
from volano.rollout.state import state_to_json
from volano.train.layout import JOURNAL, POLICY, RUN

_LOG = logging.getLogger(__name__)
EXPERIMENT, ACTOR = "volano", "flywheel"
CONTRACTS = {robot.fingerprint: robot for robot in SHIPPED.values()}


class Steps:
    """The steps over one home; the robots find the gateway at `port` of this machine."""

    def __init__(self, home: Home, plan: FlywheelPlan, children: Children, port: int, *, tracked: bool = True) -> None:
        """`tracked` says whether MLflow shows what is put in place."""
        self._tracked = tracked
        self._home = home
        self._plan = plan
        self._children = children
        self._port = port

    def fleet(self, name: str, attempts: list[dict[str, Any]]) -> dict[str, Any]:
        """Let the simulated robots do these attempts, and upload them."""
        path = self._home.work(name) / "plan.json"
        path.write_text(json.dumps({"attempts": attempts, "misbehave": self._plan.misbehave}))
        self._children.run(
            f"fleet-{name}",
            "jobs.simulate_fleet",
            *("--home", str(self._home.root), "--plan", str(path)),
            *("--gateway", f"ws://127.0.0.1:{self._port}"),
        )
        return {"attempts": len(attempts)}

    def ingest(self, name: str) -> dict[str, Any]:
        """Judge every upload; the counts of the store."""
        self._children.run(f"ingest-{name}", "pipelines.ingest", "--store", self._home.store_url)
        return asdict(count(self._home.store))

    def version(self, parent: str, reason: str, weights: Mapping[str, float]) -> str:
        """The dataset version of the accepted episodes that have a weight."""

        def select(manifest: EpisodeManifest) -> float:
            return weights.get(manifest.content_id, 0.0)

        return build_version(self._home.store, parent=parent, reason=reason, select=select, known=CONTRACTS).id

    def train(self, name: str, recipe: str, version: str, parent: str) -> str:
        """Train to the end and bring the run's metrics into MLflow; the policy's folder."""
        output = self._home.run(name)
        arguments = [recipe, *self._plan.settings.get(recipe, ())]
        arguments += ["--store", self._home.store_url, "--version", version, "--output", str(output)]
        arguments += ["--tracking", self._home.tracking_uri]
        self._children.run(f"train-{name}", "jobs.train", *arguments, *(("--parent", parent) if parent else ()))
        self.track(name, version)
        return str(output / POLICY)

    def track(self, name: str, version: str) -> str:
        """The MLflow run of a training run; empty while MLflow is away."""
        output = self._home.run(name)
        config = json.loads((output / RUN).read_text())
        params = {"recipe": config["config"]["recipe"], "config_digest": config["config_digest"], "dataset": version}
        tags = {"volano.code": code_revision(ROOT)}
        journal = output / JOURNAL
        run = tracking.project(journal, self._home.tracking_uri, EXPERIMENT, name, params, tags, finished=True)
        return run or ""

    def evaluate(self, name: str, policy: str, version: str) -> dict[str, Any]:
        """Closed loop on the gate's seeds, with baselines whose chunks come from the dataset version."""
        output = self._home.work("evaluations") / f"{name}.json"
        self._children.run(
            f"evaluate-{name}",
            "jobs.evaluate",
            *(policy, "--episodes", str(self._plan.evaluation), "--pool", "gate", "--output", str(output)),
            *("--store", self._home.store_url, "--version", version),
        )
        return {"file": str(output)}

    def gate(self, candidate: str, current: str) -> dict[str, Any]:
        """Whether the candidate may meet robots, by the files of the evaluations."""
        decision = gate_decision(candidate, current)
        return {"passed": decision.passed, "verdict": decision.verdict, "reason": decision.reason}

    def release(self, name: str, policy: str, version: str, parent: str, evaluation: str) -> str:
        """Describe, publish, release and register the policy that a file of an evaluation is about; its digest. Raises
        PolicyError when the folder is another policy, or somebody else described it. Keys are made on first use."""
        folder, report = Path(policy), Evaluation.from_bytes(Path(evaluation).read_bytes())
        describe(folder, lineage_of(folder, report, parent, code_revision(ROOT)))
        keys, now = open_keys(self._home.keys, time.time()), time.time()
        repository.begin(self._home.store, keys, now)
        manifest = publish(self._home.store, folder)
        repository.release(self._home.store, keys, keys.trust, manifest, now)
        digest = manifest.digest
        if run := self.track(name, version):
            tracking.register(self._home.tracking_uri, MODEL, manifest, run)
        record_release(self._home.ledger, manifest, ACTOR, time.time())
        return digest

    def mine(self) -> dict[str, Any]:
        """What the accepted episodes are worth to the next round."""
        return asdict(mine(accepted(self._home.store)))

    def start_rollout(self, rollout_id: str, current: str, candidate: str) -> str:
        """Begin to replace the current policy."""
        policy = self._home.ledger.policy(candidate)
        assert policy is not None
        document = Rollout(
            id=rollout_id,
            embodiments=tuple(sorted(Manifest.from_bytes(policy.manifest.encode()).embodiments.values())),
            current=current,
            candidate=candidate,
            salt=f"{rollout_id}-{candidate[:12]}",
            steps=self._plan.steps,
            allow=self._plan.canaries,
            minimum=MinimumEvidence(episodes=6, task_pairs=1, robots=2),
        )
        reconcile.start(self._home.ledger, document, time.time(), ACTOR)
        return document.id

    def look(self, rollout_id: str) -> dict[str, Any]:
        """One look at a rollout, and what it decided."""
        folder = GatewayFolder(self._home.root)
        found = reconcile.look(
            self._home.ledger,
            self._home.store,
            rollout_id,
            read_lines(folder.shadow),
            access_lines=read_turns(folder.access),
            missing_after_s=0.0,
        )
        verdict = found.verdicts[-1]
        _LOG.info("%s: %s", verdict.kind, verdict.reason)
        self.show_champion()
        return {"ended": found.ended, "state": state_to_json(found.state), "verdict": verdict.to_json()}

    def make_current(self, digest: str) -> None:
        """Every embodiment of the policy is served by it from now on."""
        policy = self._home.ledger.policy(digest)
        assert policy is not None
        for fingerprint in Manifest.from_bytes(policy.manifest.encode()).embodiments.values():
            self._home.ledger.set_current(fingerprint, digest, ACTOR, time.time())
        self.show_champion()

    def show_champion(self) -> None:
        """MLflow's view of what is in place, whoever put it there; MLflow may be away."""
        if self._tracked:
            show_champion(self._home.ledger, self._home.tracking_uri)


def gate_decision(candidate: str, current: str) -> GateDecision:
    """The gate's decision on files of evaluations; `current` is empty when no policy is in place."""
    before = Evaluation.from_bytes(Path(current).read_bytes()) if current else None
    return decide(Evaluation.from_bytes(Path(candidate).read_bytes()), before)
