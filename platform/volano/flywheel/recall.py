"""Takes episodes back: recorded first, then a version without them, then the audit. Deciding is pure.

Killed anywhere and repeated, it ends in the same store and ledger; repeated when it is done, it changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from volano.data.build import accepted, write_version
from volano.data.episode import Manifest
from volano.data.recall import Recall, Selection, contents, matching, recall_key, recalls
from volano.data.text import words
from volano.data.version import DatasetVersion, EpisodeReference, listed, load
from volano.errors import Code, DataError, StorageError
from volano.ledger.ledger import Ledger
from volano.storage.store import ObjectStore

RECALLED = "data.recalled"
"""Kind of the audit row."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a recall does."""

    recall: Recall
    """The one that stands, when the same was made before."""
    new: bool
    """Whether the recall is to be written."""
    base: DatasetVersion | None
    """The version that gets a child without the episodes; None when no newest version holds any of them."""
    kept: tuple[EpisodeReference, ...]
    """The child's episodes; without any there is no child."""
    holding: tuple[str, ...]
    """Newest versions that hold recalled episodes as well and get no child by this."""

    @property
    def changes(self) -> bool:
        """Whether anything is to be written into the store."""
        return self.new or bool(self.kept)


def propose(
    store: ObjectStore, selection: Selection, *, version: str, reason: str, by: str, now: float
) -> tuple[Decision, tuple[str, ...]]:
    """What `carry_out` would do, and the uploads that are meant; writes nothing. `version` names the one that gets the
    child; empty is the newest. Raises DataError: E-DATA-071 when nothing is meant, or when several newest versions hold
    it and none is named, E-DATA-013 for a version that does not exist, E-DATA-072 for an upload that does not;
    ConfigError for words that cannot be kept."""
    said = {"reason": words(reason, "the reason"), "by": words(by, "the name")}
    meant = dict(matching(store, selection))
    if not meant:
        raise DataError(Code.DATA_RECALL, "no upload is meant by this", "look at them: volano data quarantine show")
    proposed = Recall(contents=tuple(sorted(set(meant.values()))), at=now, **said)
    named = load(store, version) if version else None
    return decide(listed(store), recalls(store), proposed, named), tuple(meant)


def decide(
    versions: Sequence[DatasetVersion], known: Iterable[Recall], proposed: Recall, named: DatasetVersion | None
) -> Decision:
    """Pure: from every version, every recall so far and the one proposed. A version is newest while it has no child.
    Raises DataError(E-DATA-071) when it is not clear which one gets the child."""
    before = list(known)
    standing = next((one for one in before if one.id == proposed.id), None)
    gone = contents([*before, proposed])
    parents = {version.parent for version in versions}
    holding = [one for one in versions if one.id not in parents and _holds(one, gone)]
    base = named if named is not None and _holds(named, gone) else None
    if named is None and holding:
        if len(holding) > 1:
            names = ", ".join(one.id for one in holding)
            cause = f"{len(holding)} newest versions hold what is recalled: {names}"
            raise DataError(Code.DATA_RECALL, cause, "name one with --version, then the others")
        base = holding[0]
    covered = contents(before) >= {*proposed.contents}
    return Decision(
        recall=standing or proposed,
        new=standing is None and (base is not None or not covered),
        base=base,
        kept=tuple(one for one in base.episodes if one.content_id not in gone) if base is not None else (),
        holding=tuple(one.id for one in holding if base is None or one.id != base.id),
    )


def carry_out(store: ObjectStore, ledger: Ledger | None, decision: Decision) -> str:
    """Do what was decided, and write it into the ledger's audit where there is a ledger; the identifier of the version
    without the episodes, empty when there is none. Raises StorageError when bytes are missing or other."""
    recall = decision.recall
    key = recall_key(recall.id)
    if decision.new and not store.put_new(key, recall.to_bytes()):
        recall = Recall.from_bytes(store.get(key))
    child = _child(store, decision) if decision.base is not None and decision.kept else ""
    if ledger is not None and store.exists(key):
        payload = {"recall": recall.id, "reason": recall.reason, "episodes": len(recall.contents)}
        ledger.record_once(RECALLED, recall.by, payload, recall.at)
    return child


def _child(store: ObjectStore, decision: Decision) -> str:
    base = decision.base
    assert base is not None
    known = {manifest.content_id: manifest for manifest in accepted(store)}
    return write_version(
        store,
        [(_manifest(known, episode), episode.weight) for episode in decision.kept],
        parent=base.id,
        reason=f"recall {decision.recall.id[:12]}: {decision.recall.reason}",
        known={embodiment.fingerprint: embodiment for embodiment in base.embodiments.values()},
        skipped={episode.content_id: episode.skipped for episode in decision.kept},
    ).id


def _manifest(known: Mapping[str, Manifest], episode: EpisodeReference) -> Manifest:
    if episode.content_id not in known:
        cause = f"the episode {episode.content_id[:12]} of a version was never accepted"
        raise StorageError(Code.STORE_CORRUPT, cause, "restore its verdict")
    return known[episode.content_id]


def _holds(version: DatasetVersion, gone: frozenset[str]) -> bool:
    return any(episode.content_id in gone for episode in version.episodes)
