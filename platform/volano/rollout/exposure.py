"""Who may get a candidate: of one robot, and of a fleet of a million at once; both give the same, bit for bit.

A robot's place in the ramp is a hash of its name and the rollout's salt, so it depends on no other robot: enrolling or
revoking one moves nobody, and a robot exposed at some percent is exposed at every higher one. The holdout is salted by
the fleet, so it is the same in every rollout. Only the limit per cell looks at neighbours.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from volano.rollout.plan import Rollout

Keys = NDArray[np.uint64]
_MASK = (1 << 64) - 1
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_CHUNK = 1 << 14
"""Robots at a time: as many as stay in a processor's cache."""
EXPOSED, PINNED, DENIED, UNSELECTED, HELD_OUT, NOT_YET, CELL_FULL = range(7)
REASONS = ("", "pinned", "denied", "not selected", "held out", "not yet exposed", "its cell has its share")


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """A fleet in columns, made once and used for every rollout and step."""

    positions: Mapping[str, int]
    """Place of each robot in the columns, by name."""
    keys: Keys
    """Hash of each robot's name, shape (robots,)."""
    sites: tuple[str, ...]
    site: NDArray[np.int32]
    """Place of each robot's site in `sites`."""
    cell: NDArray[np.int32]
    """Number of each robot's cell: its site and embodiment."""

    @classmethod
    def of(cls, robots: Sequence[tuple[str, str, str]]) -> "Fleet":
        """From (name, site, embodiment) of each robot."""
        sites = {site: number for number, site in enumerate(dict.fromkeys(site for _, site, _ in robots))}
        cells = {cell: number for number, cell in enumerate(dict.fromkeys((site, kind) for _, site, kind in robots))}
        return cls(
            positions={name: at for at, (name, _, _) in enumerate(robots)},
            keys=np.array([robot_key(name) for name, _, _ in robots], dtype=np.uint64),
            sites=tuple(sites),
            site=np.array([sites[site] for _, site, _ in robots], dtype=np.int32),
            cell=np.array([cells[site, kind] for _, site, kind in robots], dtype=np.int32),
        )

    def among(self, wanted: Iterable[str]) -> list[int]:
        """Places of the robots of these names; names that no robot has are left out."""
        return [self.positions[name] for name in wanted if name in self.positions]


def robot_key(robot: str) -> int:
    """64 bits of a robot's name, whatever the rollout."""
    return int.from_bytes(hashlib.sha256(robot.encode()).digest()[:8])


@lru_cache(maxsize=64)
def seeds(salt: str, purpose: str) -> tuple[int, int]:
    """Two 64-bit seeds of a purpose, unrelated between salts and purposes."""
    digest = hashlib.sha256(f"{salt}\0{purpose}".encode()).digest()
    return int.from_bytes(digest[:8]), int.from_bytes(digest[8:16])


def place(key: int, seed: tuple[int, int]) -> int:
    """Place of a robot among 2^53, fixed by its key and the seeds: two rounds of splitmix64's finaliser."""
    for part in seed:
        key ^= part
        key = (key ^ (key >> 30)) * _MULTIPLIERS[0] & _MASK
        key = (key ^ (key >> 27)) * _MULTIPLIERS[1] & _MASK
        key ^= key >> 31
    return key >> 11


def places(keys: Keys, seed: tuple[int, int]) -> Keys:
    """`place` of every key; shape (robots,)."""
    found, scratch = np.empty_like(keys), np.empty(min(_CHUNK, len(keys)), dtype=np.uint64)
    for start in range(0, len(keys), _CHUNK):
        part = slice(start, start + _CHUNK)
        _mix(keys[part], seed, found[part], scratch)
    return found


def within(keys: Keys, seed: tuple[int, int], share: float) -> NDArray[np.bool_]:
    """Whether the place of each key is within the share of all; shape (robots,)."""
    found, limit = np.empty(len(keys), dtype=np.bool_), np.uint64(bound(share))
    mixed, scratch = np.empty((2, min(_CHUNK, len(keys))), dtype=np.uint64)
    for start in range(0, len(keys), _CHUNK):
        part = slice(start, start + _CHUNK)
        size = len(keys[part])
        _mix(keys[part], seed, mixed[:size], scratch)
        np.less(mixed[:size], limit, out=found[part])
    return found


def _mix(keys: Keys, seed: tuple[int, int], out: Keys, scratch: Keys) -> None:
    kept = scratch[: len(keys)]
    for part in seed:
        np.bitwise_xor(keys, np.uint64(part), out=out)
        for shift, multiplier in zip((30, 27), _MULTIPLIERS, strict=True):
            np.right_shift(out, np.uint64(shift), out=kept)
            np.bitwise_xor(out, kept, out=out)
            np.multiply(out, np.uint64(multiplier), out=out)
        np.right_shift(out, np.uint64(31), out=kept)
        np.bitwise_xor(out, kept, out=out)
        keys = out
    np.right_shift(out, np.uint64(11), out=out)


def bound(share: float) -> int:
    """Places below this are the share, within [0, 1], of all."""
    return round(min(1.0, max(0.0, share)) * 2**53)


def exclusion(document: Rollout, percent: float, robot: str, site: str = "", peers: Iterable[str] = ()) -> int:
    """Why a robot is not exposed while `percent` of the robots are, as a position in REASONS; EXPOSED when it is.

    `peers` are the robots of its cell; they matter only where the document limits a cell.
    """
    if robot in document.deny:
        return DENIED
    if robot in document.allow:
        return EXPOSED
    if (document.sites and site not in document.sites) or (document.robots and robot not in document.robots):
        return UNSELECTED
    key, seed = robot_key(robot), seeds(document.salt, "exposure")
    if place(key, seeds(document.fleet, "holdout")) < bound(document.holdout):
        return HELD_OUT
    own = place(key, seed)
    if own >= bound(percent / 100):
        return NOT_YET
    if document.max_per_cell and percent < 100:
        before = sum(
            (place(robot_key(peer), seed), peer) < (own, robot)
            for peer in peers
            if peer != robot and _eligible(document, percent, peer)
        )
        return EXPOSED if before < document.max_per_cell else CELL_FULL
    return EXPOSED


def exclusions(document: Rollout, percent: float, fleet: Fleet) -> NDArray[np.uint8]:
    """`exclusion` of every robot of a fleet, pins first; shape (robots,). Tasks are not looked at."""
    exposed = within(fleet.keys, seeds(document.salt, "exposure"), percent / 100)
    reasons = np.where(exposed, np.uint8(EXPOSED), np.uint8(NOT_YET))
    if document.holdout:
        held = within(fleet.keys, seeds(document.fleet, "holdout"), document.holdout)
        np.putmask(reasons, held, np.uint8(HELD_OUT))
    if document.sites:
        np.putmask(reasons, ~np.isin(np.array(fleet.sites), document.sites)[fleet.site], np.uint8(UNSELECTED))
    if document.robots:
        chosen = np.zeros(len(reasons), dtype=np.bool_)
        chosen[fleet.among(document.robots)] = True
        reasons[~chosen] = UNSELECTED
    reasons[fleet.among(document.deny)] = DENIED
    if document.max_per_cell and percent < 100:
        reasons[fleet.among(document.allow)] = PINNED
        _limit_cells(document, fleet, reasons)
    reasons[fleet.among(document.allow)] = EXPOSED
    reasons[fleet.among(document.pins)] = PINNED
    return reasons


def _limit_cells(document: Rollout, fleet: Fleet, reasons: NDArray[np.uint8]) -> None:
    """Leave as many exposed robots of each cell as it may have, in the order of their places."""
    waiting = np.flatnonzero(reasons == EXPOSED)
    exposure, cell = places(fleet.keys[waiting], seeds(document.salt, "exposure")), fleet.cell[waiting]
    for _ in range(document.max_per_cell):
        if not len(waiting):
            return
        least = np.full(int(cell.max()) + 1, np.iinfo(np.uint64).max)
        np.minimum.at(least, cell, exposure)
        later = exposure != least[cell]
        waiting, exposure, cell = waiting[later], exposure[later], cell[later]
    reasons[waiting] = CELL_FULL


def _eligible(document: Rollout, percent: float, peer: str) -> bool:
    """Whether a robot of the same site would be exposed but for the limit of its cell."""
    if peer in document.deny or peer in document.allow or (document.robots and peer not in document.robots):
        return False
    key = robot_key(peer)
    inside = place(key, seeds(document.salt, "exposure")) < bound(percent / 100)
    return inside and place(key, seeds(document.fleet, "holdout")) >= bound(document.holdout)
