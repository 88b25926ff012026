"""What came from what: episodes, versions, runs, policies and the robots that run them, from their records. Pure.

A policy carries on what it was trained from, and so does every policy trained from it: weights remember. A run is known
by its folder's description, a release by its signed manifest, what runs where by the ledger.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from volano.data.history import History
from volano.ledger.records import Robot
from volano.registry.manifest import Lineage
from volano.rollout.plan import Rollout


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training."""

    folder: str
    recipe: str
    versions: tuple[str, ...]
    """Identifiers of the dataset versions it reads, its own first."""
    parent: str
    """Folder of the policy it began from; empty when none."""
    parent_policy: str
    """Digest of that policy; empty when none, or when it is not known any more."""
    policy: str
    """Digest of what it exported; empty until that is released."""
    policy_folder: str
    """Where it exports to."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """One released policy."""

    digest: str
    status: str
    """As the ledger says; empty when it does not know the policy."""
    lineage: Lineage


@dataclass(frozen=True, kw_only=True)
class Running:
    """One robot, and a policy that acts or may act on it."""

    robot: str
    policy: str
    how: str


@dataclass(frozen=True, kw_only=True)
class Records:
    """Everything that lineage is joined from."""

    history: History
    """Of the dataset versions."""
    runs: tuple[Run, ...]
    releases: tuple[Release, ...]
    running: tuple[Running, ...]


@dataclass(frozen=True, kw_only=True)
class Downstream:
    """What came from some episodes or versions, each in the order of the records."""

    versions: tuple[str, ...]
    runs: tuple[Run, ...]
    policies: tuple[Release, ...]
    robots: tuple[Running, ...]


def running(robots: Iterable[Robot], current: Mapping[str, str], rollout: Rollout | None) -> tuple[Running, ...]:
    """What may act on each robot that is enrolled: the policy in place for its contract (`current`: fingerprint to
    digest), and the candidate of the rollout that is under way."""
    found = []
    for robot in robots:
        if robot.revoked:
            continue
        if robot.fingerprint in current:
            found.append(Running(robot=robot.id, policy=current[robot.fingerprint], how="in place"))
        if rollout is not None and robot.fingerprint in rollout.embodiments:
            found.append(Running(robot=robot.id, policy=rollout.candidate, how=f"candidate of {rollout.id}"))
    return tuple(found)


def of_contents(records: Records, contents: Collection[str]) -> Downstream:
    """What came from episodes, by content identifier."""
    return of_versions(records, records.history.holding(contents))


def of_versions(records: Records, versions: Collection[str]) -> Downstream:
    """What came from versions: runs that read them, policies of these runs, and all that was trained from those."""
    runs, digests = _trained(records, frozenset(versions))
    return Downstream(
        versions=tuple(head.id for head in records.history.heads if head.id in versions),
        runs=tuple(run for run in records.runs if run.folder in runs),
        policies=tuple(release for release in records.releases if release.digest in digests),
        robots=tuple(one for one in records.running if one.policy in digests),
    )


def _trained(records: Records, versions: frozenset[str]) -> tuple[set[str], set[str]]:
    """Folders of runs and digests of policies that came from versions, to any depth."""
    runs: set[str] = set()
    folders: set[str] = set()
    digests: set[str] = set()
    while True:
        before = len(runs) + len(digests)
        for run in records.runs:
            if versions & {*run.versions} or run.parent_policy in digests or run.parent in folders:
                runs.add(run.folder)
                folders.add(run.policy_folder)
                digests |= {run.policy} - {""}
        for release in records.releases:
            if versions & {*release.lineage.dataset_versions} or release.lineage.parent in digests:
                digests.add(release.digest)
        if len(runs) + len(digests) == before:
            return runs, digests
