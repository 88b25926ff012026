"""Builds a dataset version from accepted episodes: select, fetch, write one LeRobot dataset per embodiment, commit.

The same parent, accepted episodes and selection give the same version; building it again is a no-op. A child keeps its
parent's files where it can, and so lays out the same episodes otherwise than a version without that parent. What was
recalled is in no version that is built afterwards.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from volano.data.catalogue import believed
from volano.data.episode import FileEntry, Manifest
from volano.data.history import remember_child
from volano.data.recall import recalled
from volano.data.spans import Spans
from volano.data.version import DatasetVersion, EpisodeReference, commit, describe_folder, load
from volano.data.version_dataset import write_dataset
from volano.embodiment.contract import Embodiment
from volano.errors import Code, ContractError, DataError
from volano.storage.store import ObjectStore

Select = Callable[[Manifest], float]
"""Sampling weight of an accepted episode; 0 leaves it out."""
NOTHING_SKIPPED: Mapping[str, Spans] = MappingProxyType({})


def accepted(store: ObjectStore) -> list[Manifest]:
    """Manifests of every accepted episode, those that were readmitted or recalled included, in order of content_id.
    Raises StorageError(E-STORE-007) for one that the catalogue does not have and that no longer names the content that
    was judged, DataError(E-DATA-105) when the catalogue is damaged."""
    return sorted(believed(store), key=lambda manifest: manifest.content_id)


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
    """Commit the version of these accepted episodes, in order of content_id, with their weights; only what its parent
    does not have is fetched and written. Raises like `build_version`, and DataError(E-DATA-071) when one of them was
    recalled meanwhile."""
    if not chosen:
        raise DataError(Code.DATA_VERSION, "no accepted episode was selected", "ingest uploads or select others")
    embodiments = _contracts([manifest for manifest, _ in chosen], known)
    before = load(store, parent) if parent else None
    kept: dict[str, FileEntry] = {}
    with tempfile.TemporaryDirectory(prefix="volano-build-") as scratch:
        folder = Path(scratch) / "version"
        for embodiment in embodiments.values():
            its = [
                (one, weight, skipped.get(one.content_id, ()))
                for one, weight in chosen
                if one.fingerprint == embodiment.fingerprint
            ]
            kept |= write_dataset(store, before, embodiment, its, folder)
        here = describe_folder(folder)
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
            files=kept | here,
        )
        _require_not_recalled(store, version)
        commit(store, folder, version, here)
    remember_child(store, version, before)
    return version


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
