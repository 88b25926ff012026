"""From a store to a curation's plan, and from the plan to the version. Proposing writes nothing.

The plan is committed by one conditional put, the version behind it. Killed anywhere and repeated, it ends in the same
store; repeated when it is done, it changes nothing.
"""

from collections.abc import Mapping

from volano.data.build import accepted, build_version
from volano.data.curation.config import Curation
from volano.data.curation.decide import Episode, decide
from volano.data.curation.features import imitable
from volano.data.curation.make import contract, read_features
from volano.data.curation.plan import Plan, plan_key
from volano.data.episode import Manifest
from volano.data.recall import recalled
from volano.data.version import DatasetVersion, listed, load
from volano.embodiment.contract import Embodiment
from volano.errors import Code, DataError
from volano.storage.store import ObjectStore


def to_curate(store: ObjectStore) -> list[Manifest]:
    """Every accepted episode that was not recalled, in order of content_id; raises DataError(E-DATA-101) for none."""
    gone = recalled(store)
    found = [one for one in accepted(store) if one.content_id not in gone]
    if not found:
        raise DataError(Code.DATA_CURATION, "there is no accepted episode", "ingest uploads first")
    return found


def propose(store: ObjectStore, manifests: list[Manifest], config: Curation, known: Mapping[str, Embodiment]) -> Plan:
    """The plan for these episodes. Raises DataError(E-DATA-100) when an episode's features are not there or not sound,
    and ContractError(E-CONTRACT-002) for an unknown contract."""
    episodes = []
    for manifest in manifests:
        robot = contract(manifest, known)
        features = read_features(store, manifest, robot) if imitable(manifest).any() else None
        episodes.append(Episode(manifest=manifest, features=features))
    return decide(episodes, config)


def carry_out(store: ObjectStore, plan: Plan, *, parent: str, known: Mapping[str, Embodiment]) -> DatasetVersion:
    """Commit a plan and the version that it makes, a child of `parent`, or of the newest where that is empty. Raises
    DataError(E-DATA-101) when there are several newest versions and none is named, and like `build_version`."""
    reason, kept = f"curation {plan.id}", plan.kept
    above = load(store, parent).id if parent else _newest(store, reason)
    store.put_new(plan_key(plan.id), plan.to_bytes())
    return build_version(
        store,
        parent=above,
        reason=reason,
        select=lambda manifest: kept[manifest.content_id].weight if manifest.content_id in kept else 0.0,
        known=known,
        skipped={content: one.skipped for content, one in kept.items()},
    )


def _newest(store: ObjectStore, reason: str) -> str:
    """The one version without a child; its parent where this very plan has made it."""
    versions = listed(store)
    parents = {version.parent for version in versions}
    found = [one.parent if one.reason == reason else one.id for one in versions if one.id not in parents]
    if len(found) > 1:
        cause = f"{len(found)} versions have no child: {', '.join(found)}"
        raise DataError(Code.DATA_CURATION, cause, "name the one to follow with --parent")
    return found[0] if found else ""
