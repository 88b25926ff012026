"""Gathers the records that lineage is joined from: the store's versions and policies, folders of runs, the ledger.

A run whose description cannot be read is told in the log and left out. Who vouches for a policy is not checked here:
what a robot loads is verified where it is loaded.
"""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from volano.data.history import history
from volano.flywheel.lineage import Records, Release, Run, Running, running
from volano.ledger.ledger import Ledger
from volano.registry.manifest import MANIFEST, MAX_TEXT_BYTES, Manifest, tampered
from volano.registry.release import digest
from volano.rollout.plan import readable
from volano.storage.store import ObjectStore
from volano.train.layout import POLICY, RUN
from volano.train.sets import other_versions

_LOG = logging.getLogger(__name__)
_POLICIES = "policies/"


def gather(store: ObjectStore, ledger: Ledger | None, runs: Path) -> Records:
    """Everything there is; without a ledger nobody knows what runs where. `runs` is a folder with folders of runs at
    any depth. Raises PolicyError(E-POLICY-002) for a manifest that is not what its name says, StorageError and
    LedgerError when store or ledger fail."""
    return Records(
        history=history(store),
        runs=tuple(read_runs(runs)),
        releases=_releases(store, ledger),
        running=_running(ledger) if ledger is not None else (),
    )


def read_runs(folder: Path) -> Iterator[Run]:
    """Every run below a folder, in order of its path; none when there is no such folder."""
    for top, folders, files in os.walk(folder):
        folders.sort()
        if RUN in files:
            folders.clear()
            try:
                yield _run(Path(top))
            except (OSError, ValueError, TypeError, KeyError) as error:
                _LOG.warning("%s is left out: its %s cannot be read: %s", top, RUN, error)


def _run(folder: Path) -> Run:
    described = json.loads((folder / RUN).read_bytes())
    request, stages = described["request"], described["config"]["stages"]
    policy = folder.resolve() / POLICY
    return Run(
        folder=str(folder),
        recipe=str(request["recipe"]),
        versions=(str(request["version"]), *other_versions(stage["mixture"] for stage in stages)),
        parent=str(request["parent"]),
        parent_policy=_digest(Path(request["parent"])) if request["parent"] else "",
        policy=_digest(policy),
        policy_folder=str(policy),
    )


def _digest(folder: Path) -> str:
    """Digest of the policy in a folder; empty when it has no manifest yet."""
    return digest(folder) if (folder / MANIFEST).is_file() else ""


def _releases(store: ObjectStore, ledger: Ledger | None) -> tuple[Release, ...]:
    records = ledger.policies() if ledger is not None else ()
    status = {record.digest: record.status for record in records}
    manifests = {record.digest: Manifest.from_bytes(record.manifest.encode()) for record in records}
    sizes = {info.key.removeprefix(_POLICIES): info.size for info in store.list(_POLICIES)}
    for name in sizes:
        policy, _, file = name.partition("/")
        if file == MANIFEST and policy not in manifests:
            manifests[policy] = _manifest(store, policy, sizes[name])
    return tuple(
        Release(digest=policy, status=status.get(policy, ""), lineage=manifest.lineage)
        for policy, manifest in manifests.items()
    )


def _manifest(store: ObjectStore, policy: str, size: int) -> Manifest:
    if not 0 < size <= MAX_TEXT_BYTES:
        raise tampered(f"the manifest of policy {policy[:12]} has {size} bytes")
    manifest = Manifest.from_bytes(store.get(f"{_POLICIES}{policy}/{MANIFEST}"))
    if manifest.digest != policy:
        raise tampered(f"the store holds policy {manifest.digest[:12]} under the name {policy[:12]}")
    return manifest


def _running(ledger: Ledger) -> tuple[Running, ...]:
    active = ledger.active_rollout()
    document = readable(active.document) if active is not None else None
    return running(ledger.robots(), ledger.current_policies(), document)
