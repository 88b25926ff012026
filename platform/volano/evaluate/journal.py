"""Every finished evaluation episode, once and for all: append-only JSON lines, each with a checksum.

An episode is named by who acted (with what weights or data), the robot's contract and the seed, and its outcome is a
function of these. So a killed evaluation goes on where it was, and baselines are never run twice. A torn line is
skipped; of two lines for one episode the later one counts.
"""

import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from volano.evaluate.report import result_from_json
from volano.evaluate.suite import TrialResult


@dataclass(frozen=True, kw_only=True)
class Played:
    """The name of one episode."""

    who: str
    """Who acted, with the digest of what it acted by."""
    fingerprint: str
    """Of the robot's contract."""
    seed: int


class EpisodeJournal:
    """The file, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[Played, TrialResult]:
        """Every episode that can be believed."""
        found: dict[Played, TrialResult] = {}
        for line in self._path.read_bytes().splitlines() if self._path.exists() else ():
            checksum, _, text = line.partition(b" ")
            if checksum == _checksum(text):
                row = json.loads(text)
                result = result_from_json(row["episode"])
                found[Played(who=row["who"], fingerprint=row["fingerprint"], seed=result.trial.seed)] = result
        return found

    def append(self, who: str, fingerprint: str, results: Iterable[TrialResult]) -> None:
        """Add episodes of one actor on one robot, through to the disk."""
        lines = []
        for result in results:
            episode = {**asdict(result.trial), "success": result.success, "ticks": result.ticks}
            row = {"who": who, "fingerprint": fingerprint, "episode": episode}
            text = json.dumps(row, sort_keys=True).encode()
            lines.append(_checksum(text) + b" " + text + b"\n")
        with self._path.open("ab") as stream:
            stream.write(b"\n" if _is_torn(self._path) else b"")
            stream.writelines(lines)
            stream.flush()
            os.fsync(stream.fileno())


def _checksum(text: bytes) -> bytes:
    return f"{zlib.crc32(text):08x}".encode()


def _is_torn(path: Path) -> bool:
    """Whether the last line was cut off."""
    if path.stat().st_size == 0:
        return False
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) != b"\n"
