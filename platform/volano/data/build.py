"""Builds a dataset version from accepted episodes: select, fetch, write one LeRobot dataset per embodiment, commit.

The same accepted episodes and selection give the same version; building it again is a no-op.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from volano.data.episode import Manifest
from volano.data.judge import fetch_bundle, read_manifest
from volano.data.lerobot import SourceEpisode, write
from volano.data.validate import check_files
from volano.data.verdict import VERDICTS, Verdict
from volano.data.version import DatasetVersion, EpisodeReference, commit, describe_folder, load
from volano.embodiment.contract import Embodiment
from volano.errors import Code, ContractError, DataError, StorageError
from volano.storage.store import ObjectStore

Select = Callable[[Manifest], float]
"""Sampling weight of an accepted episode; 0 leaves it out."""


def accepted(store: ObjectStore) -> list[Manifest]:
    """Manifests of every accepted episode, in order of content_id. Raises StorageError(E-STORE-007) for one that no
    longer names the content that was judged."""
    verdicts = [Verdict.from_bytes(store.get(info.key)) for info in store.list(VERDICTS)]
    manifests = [_judged(store, verdict) for verdict in verdicts if verdict.verdict == "accepted"]
    return sorted(manifests, key=lambda manifest: manifest.content_id)


def build_version(
    store: ObjectStore, *, parent: str, reason: str, select: Select, known: Mapping[str, Embodiment]
) -> DatasetVersion:
    """Commit the version of all accepted episodes to which `select` gives a weight above 0. `parent` is a version's
    identifier or empty. Raises DataError when nothing is selected, StorageError when bytes are missing or other."""
    if parent:
        load(store, parent)
    weights = {manifest.content_id: (manifest, select(manifest)) for manifest in accepted(store)}
    chosen = [(manifest, weight) for manifest, weight in weights.values() if weight > 0]
    if not chosen:
        raise DataError(Code.DATA_VERSION, "no accepted episode was selected", "ingest uploads or select others")
    embodiments = _contracts([manifest for manifest, _ in chosen], known)
    with tempfile.TemporaryDirectory(prefix="volano-build-") as scratch:
        folder = Path(scratch) / "version"
        for tag, embodiment in embodiments.items():
            sources = [
                SourceEpisode(folder=Path(scratch) / manifest.content_id, manifest=manifest, weight=weight)
                for manifest, weight in chosen
                if manifest.fingerprint == embodiment.fingerprint
            ]
            for source in sources:
                _fetch(store, source)
            write(folder / tag, embodiment, sources)
        version = DatasetVersion(
            parent=parent,
            reason=reason,
            episodes=tuple(
                EpisodeReference(content_id=manifest.content_id, embodiment=manifest.fingerprint, weight=float(weight))
                for manifest, weight in chosen
            ),
            embodiments=embodiments,
            files=describe_folder(folder),
        )
        commit(store, folder, version)
    return version


def _judged(store: ObjectStore, verdict: Verdict) -> Manifest:
    manifest = read_manifest(store, verdict.upload)
    if manifest.content_id != verdict.content_id:
        raise StorageError(
            Code.STORE_CORRUPT, f"{verdict.upload} was changed after it was accepted", "restore the object"
        )
    return manifest


def _contracts(manifests: list[Manifest], known: Mapping[str, Embodiment]) -> dict[str, Embodiment]:
    contracts: dict[str, Embodiment] = {}
    for fingerprint in sorted({manifest.fingerprint for manifest in manifests}):
        if fingerprint not in known:
            raise ContractError(
                Code.CONTRACT_UNKNOWN, f"no known embodiment has fingerprint {fingerprint[:12]}", "pass its contract"
            )
        embodiment = known[fingerprint]
        if embodiment.tag in contracts:
            raise ContractError(
                Code.CONTRACT_MISMATCH,
                f"two contracts of {embodiment.tag!r} in one version",
                "select the episodes of one of them",
            )
        contracts[embodiment.tag] = embodiment
    return dict(sorted(contracts.items()))


def _fetch(store: ObjectStore, source: SourceEpisode) -> None:
    finding = fetch_bundle(store, source.manifest, source.folder) or check_files(source.folder, source.manifest)
    if finding is not None:
        raise StorageError(
            Code.STORE_CORRUPT,
            f"accepted episode {source.manifest.content_id[:12]}: {finding.evidence}",
            "restore the object",
        )
