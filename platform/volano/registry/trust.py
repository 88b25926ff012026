"""What one party trusts, kept on its disk, and brought forward by what a store says.

Gateways, people and robots each have their own: a root that a person brought (the anchor), and the newest metadata that
were believed since. Reading the store gives bytes that `volano.registry.metadata.verify` judges; what it accepts is on
the disk before anybody uses it. Processes may share the file. Safe to kill anywhere.
"""

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from volano.data.text import strict_object
from volano.errors import Code, PolicyError
from volano.registry.metadata import (
    MAX_PAPER_BYTES,
    MAX_ROOTS,
    Papers,
    Releases,
    Trusted,
    endless,
    mixed,
    verify,
    versions,
)
from volano.storage.content import canonical_json, sha256_bytes
from volano.storage.files import open_plain, replace_file
from volano.storage.store import ObjectStore

ANCHOR = "root.json"
"""The root among a platform's keys, which is brought to everybody who must trust it."""
STATE = "trusted.json"
_SCHEMA = "volano.trusted.1"
_MAX_STATE_BYTES = 1 << 20
_MAX_NUMBER = 10**9
_PREFIX = "trust/"


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Where a party keeps what it trusts."""

    anchor: Path
    """The root that a person brought. Another one in its place starts anew from there."""
    state: Path
    """What was believed since."""

    def look(self, store: ObjectStore, now: float) -> Releases:
        """What the store says is released, verified and remembered. Raises PolicyError like `verify`, E-POLICY-007 when
        nothing was ever released there, E-POLICY-009 without an anchor, StorageError when the store fails."""
        return self.believe(lambda known: read_papers(store, known), now)

    def believe(self, read: Callable[[Trusted], Papers], now: float) -> Releases:
        """The same for papers that are read otherwise, after what is trusted."""
        with self._locked():
            known = self.trusted()
            found = verify(read(known), known, now)
            if found.trusted != known:
                self._keep(found.trusted)
        return found

    def trusted(self) -> Trusted:
        """What is trusted now. Raises PolicyError: E-POLICY-009 without an anchor, E-POLICY-001 when what is kept was
        damaged: then it is not known how far this party had come."""
        anchor = read_anchor(self.anchor)
        try:
            with open_plain(self.state) as stream:
                kept = strict_object(stream.read(_MAX_STATE_BYTES))
            if kept["schema"] != _SCHEMA:
                raise ValueError(f"its schema is not {_SCHEMA}")
            if kept["anchor"] != sha256_bytes(anchor):
                return Trusted(root=anchor)
            return Trusted(**{name: str(kept[name]).encode() for name in ("root", "timestamp", "snapshot")})
        except FileNotFoundError:
            return Trusted(root=anchor)
        except (OSError, ValueError, KeyError) as error:
            raise PolicyError(
                Code.POLICY_FORMAT,
                f"{self.state} is damaged: {error}",
                "look whether somebody changed it; removed, this place believes the next signed state that it is shown",
            ) from error

    def _keep(self, trusted: Trusted) -> None:
        plain = {name: value.decode() for name, value in vars(trusted).items()}
        text = {"schema": _SCHEMA, "anchor": sha256_bytes(read_anchor(self.anchor)), **plain}
        replace_file(self.state, [canonical_json(text)])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.state.parent.mkdir(parents=True, exist_ok=True)
        with self.state.with_suffix(".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def read_anchor(path: Path) -> bytes:
    """The root that a person brought; raises PolicyError(E-POLICY-009) when there is none."""
    try:
        with open_plain(path) as stream:
            return stream.read(MAX_PAPER_BYTES[Root.type])
    except OSError as error:
        raise PolicyError(
            Code.POLICY_KEYS,
            f"there is no root of trust at {path}",
            "bring the platform's keys/root.json there, or begin a platform: volano policy keys make FOLDER",
        ) from error


def read_papers(store: ObjectStore, trusted: Trusted) -> Papers:
    """What the store says is newest, after what is trusted; nothing of it is verified, and all of it bounded. Raises
    PolicyError: E-POLICY-001 for what is no metadata or endless, E-POLICY-006 for what is missing, E-POLICY-007 when
    there is nothing."""
    roots = read_roots(store, versions(trusted.root)[0])
    newest = newest_timestamp(store, versions(trusted.timestamp)[0] if trusted.timestamp else 0)
    if newest == 0:
        raise PolicyError(
            Code.POLICY_UNRELEASED, f"nothing is released in {store.url}", "release a policy: volano policy release"
        )
    timestamp = _get(store, Timestamp.type, newest)
    snapshot = _get(store, Snapshot.type, versions(timestamp)[1])
    targets = _get(store, Targets.type, versions(snapshot)[1])
    return Papers(roots=roots, timestamp=timestamp, snapshot=snapshot, targets=targets)


def read_root(store: ObjectStore, version: int) -> Trusted:
    """A root in a store, as whoever already trusts it goes on from there. Raises PolicyError(E-POLICY-006) when it is
    not there."""
    return Trusted(root=_get(store, Root.type, version))


def read_roots(store: ObjectStore, after: int) -> tuple[bytes, ...]:
    """The roots in a store after a version, unverified. Raises PolicyError(E-POLICY-001) for more than are followed at
    a time."""
    roots: list[bytes] = []
    while (root := _get_if_any(store, Root.type, after + 1 + len(roots))) is not None:
        roots.append(root)
        if len(roots) > MAX_ROOTS:
            raise endless(Root.type)
    return tuple(roots)


def newest_timestamp(store: ObjectStore, after: int = 0) -> int:
    """The number of the newest timestamp in a store, 0 when there is none, looked for from one that was there. Raises
    PolicyError(E-POLICY-001) when they do not end."""
    return highest(lambda number: store.exists(paper_key(Timestamp.type, number)), after, Timestamp.type)


def highest(exists: Callable[[int], bool], after: int, what: str) -> int:
    """The last of a series that begins with 1 and has no gaps, asked of few of its numbers; 0 when there is none. What
    stands behind a gap is not of the series. Raises PolicyError(E-POLICY-001) for one of more than a billion."""
    low, step = after if after > 0 and exists(after) else 0, 1
    while exists(low + step):
        low, step = low + step, 2 * step
        if low > _MAX_NUMBER:
            raise endless(what)
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if exists(middle) else (low, middle)
    return low


def paper_key(role: str, version: int) -> str:
    """Where a version of TUF's metadata stands in a store."""
    return f"{_PREFIX}{role}/{version:010d}.json"


def _get(store: ObjectStore, role: str, version: int) -> bytes:
    found = _get_if_any(store, role, version)
    if found is None:
        raise mixed(f"{role} {version} is missing")
    return found


def _get_if_any(store: ObjectStore, role: str, version: int) -> bytes | None:
    key = paper_key(role, version)
    size = store.size(key)
    if size is None:
        return None
    if size > MAX_PAPER_BYTES[role]:
        raise endless(role)
    return store.get(key)


def trusted_to_json(trusted: Trusted) -> str:
    """As a text, for a process elsewhere that goes on from there."""
    return json.dumps({name: value.decode() for name, value in vars(trusted).items()})


def trusted_from_json(text: str) -> Trusted:
    """What `trusted_to_json` wrote, in the hands of who calls."""
    return Trusted(**{name: str(value).encode() for name, value in json.loads(text).items()})
