"""The lineage of one thing that a person names: an upload, an episode by its content, or a version."""

import re
from collections import Counter
from dataclasses import dataclass

from volano.data.catalogue_query import uploads_of
from volano.data.history import VersionHead
from volano.data.quarantine import dossier, robot_of
from volano.data.recall import recalls
from volano.data.verdict import UPLOADS, owner, upload_key
from volano.data.version import load
from volano.errors import Code, DataError
from volano.flywheel.lineage import Downstream, Records, of_contents, of_versions
from volano.storage.store import ObjectStore

_HEX, _BEGINNING = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{1,63}")


@dataclass(frozen=True, kw_only=True)
class HeldBy:
    """A version that holds an episode."""

    version: str
    weight: float
    reason: str
    """Why the version was made."""


@dataclass(frozen=True, kw_only=True)
class EpisodeTrace:
    """An upload's way, from its robot to the robots that learned from it."""

    upload: str
    robot: str
    attempt: str
    content_id: str
    """Empty when its manifest cannot be read: then nothing can come from it."""
    stands: str
    """Accepted, quarantined, rejected or in flight."""
    code: str
    """The verdict's; empty for none."""
    counts_as: str
    """The upload that owns its content; empty when none does."""
    recalls: tuple[str, ...]
    """Identifiers of the recalls that took it back."""
    versions: tuple[HeldBy, ...]
    downstream: Downstream

    def rows(self) -> dict[str, object]:
        """For people."""
        stands = f"{self.stands}{f', {self.code}' if self.code else ''}"
        rows: dict[str, object] = {"upload": self.upload, "robot": self.robot, "attempt": self.attempt}
        rows |= {"content": self.content_id or "unknown", "stands": stands}
        if self.counts_as not in {"", self.upload}:
            rows["counts as"] = self.counts_as
        rows |= {f"recalled by {one[:12]}": "no later version holds it" for one in self.recalls}
        return rows | {f"version {one.version[:12]}": f"weight {one.weight:g}, {one.reason}" for one in self.versions}

    def next(self) -> str:
        """What to do."""
        name = self.upload.removeprefix(UPLOADS).removesuffix(".json")
        if self.versions and not self.recalls:
            return f'when it is bad: volano data recall --upload {name} --plan --reason "WHY"'
        return f"volano data quarantine show {name}"


@dataclass(frozen=True, kw_only=True)
class VersionTrace:
    """A version's way, from its parents to the robots that learned from it."""

    version: str
    reason: str
    parents: tuple[str, ...]
    """Its parent first."""
    children: tuple[str, ...]
    robots: dict[str, int]
    """Robot to number of episodes."""
    recalled: int
    """Number of its episodes that were recalled."""
    downstream: Downstream

    def rows(self) -> dict[str, object]:
        """For people."""
        rows: dict[str, object] = {"version": self.version, "reason": self.reason}
        rows["parents"] = ", ".join(one[:12] for one in self.parents) or "none"
        rows["children"] = ", ".join(one[:12] for one in self.children) or "none"
        rows |= {f"episodes of {robot}": number for robot, number in self.robots.items()}
        return rows | {"recalled": self.recalled}

    def next(self) -> str:
        """What to do."""
        return f"volano data diff {self.parents[0]} {self.version}" if self.parents else "volano data versions"


def trace(store: ObjectStore, records: Records, name: str) -> EpisodeTrace | VersionTrace:
    """Follow what is named, a version by its first digits as well; raises DataError(E-DATA-072) when nothing has this
    name, or several have."""
    if _BEGINNING.fullmatch(name):
        named = [head for head in records.history.heads if head.id.startswith(name)]
        if len(named) != 1:
            cause = f"{len(named)} versions begin with {name!r}"
            raise DataError(
                Code.DATA_UNKNOWN,
                cause,
                "volano data versions lists them; an episode is named by all of its digits, or by its upload",
            )
        return _version(store, records, named[0])
    if not _HEX.fullmatch(name):
        return _episode(store, records, upload_key(name))
    version = records.history.head(name)
    if version is not None:
        return _version(store, records, version)
    upload = owner(store, name)
    if not upload:
        cause = f"no version and no accepted episode is called {name[:12]}"
        raise DataError(Code.DATA_UNKNOWN, cause, "name what was not accepted by its upload: ROBOT/ATTEMPT")
    return _episode(store, records, upload)


def _episode(store: ObjectStore, records: Records, upload: str) -> EpisodeTrace:
    known = dossier(store, upload)
    content = known.manifest.content_id if known.manifest else ""
    held = records.history.holding({content})
    return EpisodeTrace(
        upload=upload,
        robot=robot_of(upload),
        attempt=upload.rpartition("/")[2].removesuffix(".json"),
        content_id=content,
        stands=known.stands,
        code=known.verdict.code if known.verdict else "",
        counts_as=known.owner,
        recalls=tuple(one.id for one in recalls(store) if content in one.contents),
        versions=tuple(
            HeldBy(version=head.id, weight=held[head.id][content], reason=head.reason)
            for head in records.history.heads
            if head.id in held
        ),
        downstream=of_contents(records, {content}),
    )


def _version(store: ObjectStore, records: Records, version: VersionHead) -> VersionTrace:
    contents = [episode.content_id for episode in load(store, version.id).episodes]
    robots = Counter(robot_of(upload) or "unknown" for upload in uploads_of(store, contents).values())
    gone = {content for one in recalls(store) for content in one.contents}
    return VersionTrace(
        version=version.id,
        reason=version.reason,
        parents=records.history.ancestors(version.id),
        children=tuple(one.id for one in records.history.heads if one.parent == version.id),
        robots=dict(sorted(robots.items())),
        recalled=sum(content in gone for content in contents),
        downstream=of_versions(records, {version.id}),
    )
