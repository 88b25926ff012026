"""Builds a dataset version from accepted episodes: select, fetch, write one LeRobot dataset per embodiment, commit.

The same accepted episodes and selection give the same version; building it again is a no-op. What was recalled is in no
version that is built afterwards.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

from volano.data.episode import Manifest
from volano.data.judge import fetch_bundle, read_manifest
from volano.data.lerobot import SourceEpisode, write
from volano.data.readmission import readmissions
from volano.data.recall import recalled
from volano.data.sketch_store import kept_sketch
from volano.data.spans import Spans
from volano.data.validate import check_files
from volano.data.verdict import VERDICTS, Verdict
from volano.data.version import DatasetVersion, EpisodeReference, commit, describe_folder, load
from volano.embodiment.contract import Embodiment
from volano.errors import Code, ContractError, DataError, StorageError
from volano.storage.store import ObjectStore

Select = Callable[[Manifest], float]
"""Sampling weight of an accepted episode; 0 leaves it out."""
NOTHING_SKIPPED: Mapping[str, Spans] = MappingProxyType({})


def accepted(store: ObjectStore) -> list[Manifest]:
    """Manifests of every accepted episode, those that were readmitted or recalled included, in order of content_id.
    Raises StorageError(E-STORE-007) for one that no longer names the content that was judged."""
    readmitted = readmissions(store)
    verdicts = [Verdict.from_bytes(store.get(info.key)) for info in store.list(VERDICTS)]
    manifests = [
        judged_manifest(store, verdict.upload, verdict.content_id)
        for verdict in verdicts
        if verdict.verdict == "accepted" or verdict.upload in readmitted
    ]
    return sorted(manifests, key=lambda manifest: manifest.content_id)


def build_version(
    store: ObjectStore,
    *,
    parent: str,
    reason: str,
    select: Select,
    known: Mapping[str, Embodiment],
    skipped: Mapping[str, Spans] = NOTHING_SKIPPED,
) -> DatasetVersion:
    """Commit the version of all accepted episodes to which `select` gives a weight above 0 and that were not recalled.
    `parent` is a version's identifier or empty; `skipped` maps contents to ticks that no sample is taken from. Raises
    DataError when nothing is selected, StorageError when bytes are missing or other."""
    if parent:
        load(store, parent)
    gone = recalled(store)
    weights = {manifest.content_id: (manifest, select(manifest)) for manifest in accepted(store)}
    chosen = [(one, weight) for one, weight in weights.values() if weight > 0 and one.content_id not in gone]
    return write_version(store, chosen, parent=parent, reason=reason, known=known, skipped=skipped)


def write_version(
    store: ObjectStore,
    chosen: Sequence[tuple[Manifest, float]],
    *,
    parent: str,
    reason: str,
    known: Mapping[str, Embodiment],
    skipped: Mapping[str, Spans] = NOTHING_SKIPPED,
) -> DatasetVersion:
    """Commit the version of these accepted episodes, in order of content_id, with their weights. Raises like
    `build_version`, and DataError(E-DATA-071) when one of them was recalled meanwhile."""
    if not chosen:
        raise DataError(Code.DATA_VERSION, "no accepted episode was selected", "ingest uploads or select others")
    embodiments = _contracts([manifest for manifest, _ in chosen], known)
    with tempfile.TemporaryDirectory(prefix="volano-build-") as scratch:
        folder = Path(scratch) / "version"
        for tag, embodiment in embodiments.items():
            sources = [
                SourceEpisode(
                    folder=Path(scratch) / manifest.content_id,
                    manifest=manifest,
                    weight=weight,
                    skipped=skipped.get(manifest.content_id, ()),
                )
                for manifest, weight in chosen
                if manifest.fingerprint == embodiment.fingerprint
            ]
            for source in sources:
                fetch_accepted(store, source.manifest, source.folder)
            write(folder / tag, embodiment, sources, partial(kept_sketch, store))
        version = DatasetVersion(
            parent=parent,
            reason=reason,
            episodes=tuple(
                EpisodeReference(
                    content_id=manifest.content_id,
                    embodiment=manifest.fingerprint,
                    weight=float(weight),
                    skipped=skipped.get(manifest.content_id, ()),
                )
                for manifest, weight in chosen
            ),
            embodiments=embodiments,
            files=describe_folder(folder),
        )
        _require_not_recalled(store, version)
        commit(store, folder, version)
    return version


def judged_manifest(store: ObjectStore, upload: str, content_id: str) -> Manifest:
    """The manifest of an upload that was accepted with this content; raises StorageError(E-STORE-007) when it names
    another one now."""
    manifest = read_manifest(store, upload)
    if manifest.content_id != content_id:
        raise StorageError(Code.STORE_CORRUPT, f"{upload} was changed after it was accepted", "restore the object")
    return manifest


def fetch_accepted(store: ObjectStore, manifest: Manifest, folder: Path) -> None:
    """Download an accepted episode's files into a new folder; raises StorageError(E-STORE-007) when they are missing or
    other than they were."""
    finding = fetch_bundle(store, manifest, folder) or check_files(folder, manifest)
    if finding is not None:
        cause = f"accepted episode {manifest.content_id[:12]}: {finding.evidence}"
        raise StorageError(Code.STORE_CORRUPT, cause, "restore the object")


def _require_not_recalled(store: ObjectStore, version: DatasetVersion) -> None:
    """Writing a version takes minutes, in which a person may recall what it holds."""
    gone = recalled(store)
    if any(episode.content_id in gone for episode in version.episodes):
        raise DataError(Code.DATA_RECALL, "an episode was recalled while its version was written", "build it again")


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
