"""A curation's plan: what becomes of each accepted episode, why, and what was asked. Its name is its content.

It is an object of its own, `curations/<digest>.json`, written once; the version that is built from it names it.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, Self, get_args

from volano.config import load_json
from volano.data.curation.config import Curation
from volano.data.spans import Spans, parse_spans
from volano.errors import Code, DataError, StorageError
from volano.storage.content import canonical_json, sha256_bytes
from volano.storage.store import ObjectStore

CURATIONS = "curations/"
SCHEMA = "volano.curation.1"
Rule = Literal[
    "kept", "not imitated", "floor", "swapped cameras", "near duplicate", "still", "rough", "uninformative", "covered"
]
"""Which rule decided. The first three keep."""
KEEPING = frozenset({"kept", "not imitated", "floor"})


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What becomes of one episode."""

    content_id: str
    embodiment: str
    """Fingerprint of its contract."""
    task: str
    rule: Rule
    weight: float
    """0 when it is dropped, else 1 or more."""
    reason: str
    skipped: Spans
    """Ticks [start, end) that training takes no sample from."""
    scores: Mapping[str, float]
    """Empty when nothing of it may be imitated."""

    @property
    def keep(self) -> bool:
        """Whether it is in the version."""
        return self.rule in KEEPING


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a curation does."""

    config: Curation
    inputs: str
    """SHA-256 over every episode's manifest and features."""
    decisions: tuple[Decision, ...]
    """In order of content_id."""

    @cached_property
    def id(self) -> str:
        """SHA-256 of `to_bytes`."""
        return sha256_bytes(self.to_bytes())

    @property
    def kept(self) -> dict[str, Decision]:
        """Content identifier to decision, of what is kept."""
        return {one.content_id: one for one in self.decisions if one.keep}

    def counts(self) -> dict[str, int]:
        """Rule to number of episodes."""
        return dict(sorted(Counter(one.rule for one in self.decisions).items()))

    def decision(self, content_id: str) -> Decision:
        """What becomes of an episode, named by its first digits or all; raises DataError(E-DATA-072) where the plan has
        not exactly one."""
        found = [one for one in self.decisions if content_id and one.content_id.startswith(content_id)]
        if len(found) != 1:
            cause = f"the plan has {len(found)} episodes whose content begins with {content_id!r}"
            raise DataError(Code.DATA_UNKNOWN, cause, "give the content's 64 hex digits")
        return found[0]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json({"schema": SCHEMA, **asdict(self)})

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Build from untrusted plain data; raises DataError(E-DATA-101)."""
        try:
            return cls(**_parse(data))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(Code.DATA_CURATION, f"not a curation's plan: {error}", "curate again") from error


def plan_key(plan_id: str) -> str:
    """Key of a plan."""
    return f"{CURATIONS}{plan_id}.json"


def load(store: ObjectStore, plan_id: str) -> Plan:
    """The plan of that identifier or of its first digits; raises DataError(E-DATA-101) where there is not exactly one,
    and StorageError(E-STORE-007) when it is not what its name says."""
    hexadecimal = plan_id and set(plan_id) <= set("0123456789abcdef")
    found = [info.key for info in store.list(f"{CURATIONS}{plan_id}")] if hexadecimal else []
    if len(found) != 1:
        cause = f"{len(found)} plans in {store.url} begin with {plan_id!r}"
        raise DataError(Code.DATA_CURATION, cause, "versions name theirs: volano data versions --store STORE")
    data = store.get(found[0])
    if plan_key(sha256_bytes(data)) != found[0]:
        raise StorageError(Code.STORE_CORRUPT, f"{found[0]} has another content", "restore the object")
    return Plan.from_json(json.loads(data))


def _parse(data: object) -> dict[str, Any]:
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA!r}")
    decisions = tuple(Decision(**{**one, "skipped": parse_spans(one["skipped"])}) for one in data["decisions"])
    if any(one.rule not in get_args(Rule) for one in decisions):
        raise ValueError("a rule is unknown")
    return {"config": load_json(Curation, data["config"]), "inputs": data["inputs"], "decisions": decisions}
