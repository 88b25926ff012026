"""A rollout over a real ledger and a store in memory: robots whose episodes are assigned, carried out and accepted."""

from collections.abc import Mapping
from random import Random

from serving.directory import choose
from volano.data.episode import FileEntry, Manifest, Outcome, Segment
from volano.data.verdict import UPLOADS, Verdict, verdict_key
from volano.flywheel import reconcile
from volano.ledger.ledger import Ledger
from volano.ledger.records import Assignment, PolicyRecord, Robot
from volano.registry.manifest import Lineage
from volano.registry.manifest import Manifest as PolicyManifest
from volano.rollout.plan import ABTestStep, CanaryStep, MinimumEvidence, Rollout, ShadowStep
from volano.storage.content import sha256_bytes
from volano.storage.store import ObjectStore

SCOUTS, GLIDERS = "a" * 64, "b" * 64
"""Fingerprints of the two contracts that the policies were trained for."""


def manifest_of(code: str, *fingerprints: str) -> PolicyManifest:
    """Of a policy that was trained by this revision of the code for these contracts."""
    lineage = Lineage(dataset_versions=("d" * 64,), config_digest="c" * 64, code_revision=code)
    tags = {SCOUTS: "scout", GLIDERS: "glider"}
    files = {"model.safetensors": FileEntry(size=1, sha256=sha256_bytes(code.encode()))}
    return PolicyManifest(
        files=files, embodiments={tags[fingerprint]: fingerprint for fingerprint in fingerprints}, lineage=lineage
    )


MANIFESTS = manifest_of("current", SCOUTS, GLIDERS), manifest_of("candidate", SCOUTS, GLIDERS)
CURRENT, CANDIDATE = (manifest.digest for manifest in MANIFESTS)
TASKS = ("red", "blue")
PLAN = Rollout(
    id="rollout-1",
    embodiments=(SCOUTS, GLIDERS),
    current=CURRENT,
    candidate=CANDIDATE,
    salt="salt",
    steps=(
        ShadowStep(min_episodes=4),
        CanaryStep(percent=50.0, min_episodes=4),
        ABTestStep(min_blocks=5, max_blocks=200),
    ),
    minimum=MinimumEvidence(episodes=4, robots=2),
)


def prepare(ledger: Ledger) -> None:
    """The fleet, and a rollout of the second policy."""
    equip(ledger)
    reconcile.start(ledger, PLAN, 10.0, "test")


def equip(ledger: Ledger) -> None:
    """Six robots of two contracts and two policies, the first in place."""
    for number in range(6):
        fingerprint, tag = (SCOUTS, "scout") if number % 2 else (GLIDERS, "glider")
        robot = Robot(
            id=f"{tag}-{number}", embodiment=tag, fingerprint=fingerprint, site="lab", enrolled_at=1.0, revoked=False
        )
        ledger.enroll_robot(robot, f"key-{number}", "test")
    for version, manifest in enumerate(MANIFESTS, 1):
        release(ledger, manifest, version)
    for fingerprint in PLAN.embodiments:
        ledger.set_current(fingerprint, CURRENT, "test", 3.0)


def release(ledger: Ledger, manifest: PolicyManifest, version: int, status: str = "released") -> None:
    """Register a policy."""
    record = PolicyRecord(
        digest=manifest.digest,
        model_name="policy",
        version=version,
        status=status,
        manifest=manifest.to_bytes().decode(),
    )
    ledger.put_policy(record, "test", 2.0)


def day(
    ledger: Ledger, store: ObjectStore, number: int, rates: Mapping[str, float], random: Random
) -> list[dict[str, object]]:
    """Every robot does every task once; `rates` is the success rate of each policy. The shadow journal's new lines."""
    lines: list[dict[str, object]] = []
    for robot in ledger.robots():
        for task in TASKS:
            episode, at = f"{task}-{number:03d}", 100.0 * (number + 1)
            given = ledger.assign_episode(robot.id, task, episode, lambda situation: choose(situation, no_problem), at)
            accept(store, robot, given, success=random.random() < rates[given.policy])
            if given.shadow is not None:
                lines.append(
                    {
                        "rollout": PLAN.id,
                        "robot": robot.id,
                        "episode": episode,
                        "request": f"{robot.id}/{episode}/0",
                        "problem": "",
                    }
                )
    return lines


def no_problem(policy: str) -> str:
    """Every policy is ready."""
    del policy
    return ""


def accept(
    store: ObjectStore,
    robot: Robot,
    given: Assignment,
    *,
    success: bool,
    helped: bool = False,
    stops: int = 0,
    beside: tuple[str, ...] = (),
) -> Manifest:
    """The episode's upload, judged and accepted; it ran the policies `beside` too."""
    segments = [Segment(start=0, end=10, kind="autonomous")]
    if helped:
        segments.append(Segment(start=10, end=20, kind="intervention"))
    name = f"{robot.id}/{given.episode}"
    manifest = Manifest(
        schema="volano.episode.1",
        attempt=given.episode,
        robot=robot.id,
        embodiment=robot.embodiment,
        fingerprint=robot.fingerprint,
        task=given.task,
        instruction=f"go to the {given.task} box",
        started_at=given.at,
        rate_hz=5.0,
        frames=segments[-1].end,
        segments=tuple(segments),
        outcome=Outcome(success=success or helped, autonomous=not helped, source="script", safety_stops=stops),
        policies=(given.policy, *beside),
        rollout=given.rollout,
        arm=given.arm,
        files={"steps.parquet": FileEntry(size=1, sha256=sha256_bytes(name.encode()))},
    )
    upload = f"{UPLOADS}{name}.json"
    verdict = Verdict(upload=upload, content_id=manifest.content_id, verdict="accepted", code="", evidence="")
    store.put_new(upload, manifest.to_bytes())
    store.put_new(verdict_key(upload), verdict.to_bytes())
    return manifest
