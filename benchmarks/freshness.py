"""How long it takes from a robot's upload to a dataset version that holds the episode, while a fleet keeps sending.

Ten robots send one episode each 30 seconds; the platform, on two cores, does nothing but `pipelines.ingest` and the
next version, again and again. An episode counts from the receipt of its upload to the commit of the first version that
holds it. Its time is wall time: run this on a quiet machine.
`python -m benchmarks.freshness --json FILE [--quick]`.
"""

import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.attempts import arm, bundle, draft
from benchmarks.measuring import PACKAGES
from benchmarks.report import Row, arguments_of, tell
from pipelines.ingest import ingest
from tests.unit.data.bundles import claims_with, columns, manifest_of, upload, write_steps
from volano.data.build import build_version
from volano.data.episode import STEPS_FILE, Manifest
from volano.data.version import load
from volano.embodiment.contract import Embodiment
from volano.storage.folder import FolderStore

_ROBOTS, _PERIOD_S, _FRAMES, _VIDEOS = 10, 30.0, 200, 5


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One episode, and when its upload was acknowledged."""

    content_id: str
    at: float


def prepared(folder: Path, robot: Embodiment, episodes: int) -> list[tuple[Path, Manifest]]:
    """Bundles made beforehand: each with a table of its own, and one of a few sets of videos."""
    for number in range(_VIDEOS):
        bundle(folder / f"video-{number}", draft(robot, number, _FRAMES))
    found = []
    for number in range(episodes):
        place, wanted = folder / str(number), draft(robot, 1000 + number, _FRAMES)
        place.mkdir()
        write_steps(place / STEPS_FILE, columns(wanted), robot)
        for video in (folder / f"video-{number % _VIDEOS}").glob("*.mp4"):
            (place / video.name).hardlink_to(video)
        name = f"arm-{number % _ROBOTS:02d}"
        found.append((place, claims_with(manifest_of(place, wanted), robot=name)))
    return found


def send(store: FolderStore, made: Sequence[tuple[Path, Manifest]], begun: float, sent: list[Sent]) -> None:
    """The fleet: robots take turns, each once in a period."""
    for number, (place, manifest) in enumerate(made):
        time.sleep(max(begun + number * _PERIOD_S / _ROBOTS - time.monotonic(), 0.0))
        upload(store, place, manifest)
        sent.append(Sent(content_id=manifest.content_id, at=time.monotonic()))


def ages(store: FolderStore, robot: Embodiment, made: Sequence[tuple[Path, Manifest]]) -> tuple[list[float], int]:
    """Seconds that each episode waited, and the number of versions that were made."""
    known, sent, fresh = {robot.fingerprint: robot}, list[Sent](), dict[str, float]()
    ingest(store.url, known)
    fleet = threading.Thread(target=send, args=(store, made, time.monotonic(), sent), name="fleet", daemon=True)
    fleet.start()
    parent, versions = "", 0
    while len(fresh) < len(made):
        counts = ingest(store.url, known)
        if counts.quarantined or counts.rejected:
            raise SystemExit(f"the gate refused some of the fleet's episodes: {counts}")
        if counts.accepted == len(fresh):
            time.sleep(0.2)
            continue
        built = build_version(store, parent=parent, reason="fresh", select=lambda _one: 1.0, known=known)
        now, parent, versions = time.monotonic(), built.id, versions + 1
        for episode in load(store, parent).episodes:
            fresh.setdefault(episode.content_id, now)
    fleet.join()
    return [fresh[one.content_id] - one.at for one in sent], versions


def results(waited: Sequence[float]) -> list[Row]:
    """The 95th percentile with a bootstrap interval, and the median."""
    values, rng = np.array(waited), np.random.default_rng(0)
    rows: list[Row] = []
    for share, must, aim in ((0.95, 60.0, 20.0), (0.5, None, None)):
        drawn = np.quantile(values[rng.integers(len(values), size=(2000, len(values)))], share, axis=1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        row: Row = {"metric": f"from upload to version, p{share * 100:.0f}", "unit": "s", "better": "lower"}
        row |= {"ratio": float(np.quantile(values, share)), "low": float(low), "high": float(high)}
        rows.append(row | {"n": len(values), "must": must, "aim": aim})
    return rows


def main() -> None:
    """Measure, write, print."""
    arguments = arguments_of(__doc__, "one episode of each robot, within two minutes").parse_args()
    robot = replace(arm(2, 224, 224), tag="arm")
    episodes = _ROBOTS if arguments.quick else 7 * _ROBOTS
    with tempfile.TemporaryDirectory(prefix="volano-benchmark-") as scratch:
        (Path(scratch) / "store").mkdir()
        made = prepared(Path(scratch) / "bundles", robot, episodes)
        waited, versions = ages(FolderStore(Path(scratch) / "store"), robot, made)
    also = {"robots": _ROBOTS, "versions": versions}
    tell("freshness", arguments.json, quick=arguments.quick, rows=results(waited), packages=PACKAGES, **also)


if __name__ == "__main__":
    main()
