"""What it costs to take in attempts whose pictures have to be encoded: decoded, recorded, sent, judged, made a version.

Beside it, on as many cores, the same frames are decoded and encoded with the same settings and nothing else. From
frames that are decoded already, LeRobot's writer is the peer, in an environment of its own (`--peer FOLDER`).
`python -m benchmarks.ingest_transcode --json FILE [--quick] [--peer FOLDER]`.
"""

import argparse
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.attempts import arm, draft, pictures
from benchmarks.ingest_passthrough import built, judged
from benchmarks.lerobot_peer import PEER, Missing, saved
from benchmarks.measuring import Result, Spent, missing, report, speed, timed
from tests.unit.data.bundles import Draft, columns, encode
from volano.data.episode import Outcome
from volano.data.record import Recorder
from volano.data.upload import upload
from volano.data.video import ColourConverter, VideoEncoder
from volano.embodiment.contract import Embodiment
from volano.storage.folder import FolderStore

Image = NDArray[np.uint8]
_CAMERAS = 3
_CODEC = {"preset": "veryfast", "crf": "12", "g": "15", "bf": "0"}
"""Of the recorder, for LeRobot."""
_OUTCOME = Outcome(success=True, autonomous=False, source="operator")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is taken in."""

    sides: tuple[tuple[int, int], ...]
    groups: int
    episodes: int
    frames: int


FULL = Size(sides=((224, 224), (480, 640)), groups=8, episodes=8, frames=200)
QUICK = Size(sides=((224, 224),), groups=2, episodes=2, frames=60)


def decoded(path: Path) -> Iterator[Image]:
    """A foreign video's frames."""
    rgb = ColourConverter("rgb24")
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for frame in container.decode(video=0):
            yield rgb.array(frame)


def recorded(folder: Path, wanted: Draft, frames: dict[str, Iterator[Image]]) -> Path:
    """A bundle of these frames and of the draft's table."""
    table, robot = columns(wanted), wanted.embodiment
    recorder = Recorder(
        folder,
        robot,
        robot=wanted.robot,
        attempt=wanted.attempt,
        task="go-to",
        instruction=wanted.instruction,
        started_at=1.7e9,
    )
    with recorder:
        for tick in range(wanted.frames):
            recorder.tick(
                table["timestamp"][tick],
                {name: next(images) for name, images in frames.items()},
                table["state"][tick],
                table["action"][tick],
                segment="intervention",
                policy="",
                request="",
                executed="expert",
            )
        return recorder.finish(_OUTCOME)


def transcoded(source: Path, folder: Path, wanted: Draft) -> Path:
    """The bundle of a foreign attempt."""
    videos = {camera.name: decoded(source / f"{camera.name}.mp4") for camera in wanted.embodiment.cameras}
    return recorded(folder, wanted, videos)


def floor(source: Path, wanted: Draft) -> None:
    """Decode and encode, and keep nothing."""
    for camera in wanted.embodiment.cameras:
        encoder = VideoEncoder(camera.name, wanted.embodiment.rate_hz)
        for image in decoded(source / f"{camera.name}.mp4"):
            encoder.add(image)
        encoder.end()


def taken_in(place: Path, bundles: Callable[[Path], Sequence[Path]], robot: Embodiment) -> None:
    """Bundles are made, sent, judged and become a version."""
    (place / "store").mkdir(parents=True)
    store = FolderStore(place / "store")
    uploads = [upload(store, bundle).key for bundle in bundles(place / "bundles")]
    judged(store, uploads, robot)
    built(store, robot)


def on_all_cores(work: Callable[[Path, Draft], object], sources: Sequence[tuple[Path, Draft]]) -> list[object]:
    """Each attempt in one of as many processes as there are cores, which end with it."""
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(work, *zip(*sources, strict=True)))


def _transcoded(folder: Path, source: Path, wanted: Draft) -> Path:
    return transcoded(source, folder, wanted)


def measure(folder: Path, side: tuple[int, int], size: Size, peer: Path) -> list[Result]:
    """One size of pictures, in pairs of groups, who is first taking turns."""
    robot = arm(_CAMERAS, *side)
    spent: dict[str, list[Spent]] = {"ours": [], "floor": [], "decoded": []}
    groups = list[list[Draft]]()
    for group in range(size.groups):
        place = folder / str(group)
        drafts = [draft(robot, group * size.episodes + number, size.frames) for number in range(size.episodes)]
        sources = [(_foreign(place / "source" / one.attempt, one), one) for one in drafts]
        seen = [pictures(one) for one in drafts]
        groups.append(drafts)

        def ours(bundles: Path) -> list[Path]:
            made = on_all_cores(partial(_transcoded, bundles), sources)  # noqa: B023  # done at once, as all of these
            return [path for path in made if isinstance(path, Path)]

        def from_frames(bundles: Path) -> list[Path]:
            return [
                recorded(bundles, one, {name: iter(images) for name, images in views.items()})
                for one, views in zip(drafts, seen, strict=True)  # noqa: B023
            ]

        work = {
            "ours": lambda: taken_in(place / "ours", ours, robot),  # noqa: B023
            "floor": lambda: on_all_cores(floor, sources),  # noqa: B023
            "decoded": lambda: taken_in(place / "decoded", from_frames, robot),  # noqa: B023
        }
        for name in list(work)[:: 1 if group % 2 else -1]:
            spent[name].append(timed(work[name]))
    return [*_rows(f"{_CAMERAS} cameras of {side[0]} x {side[1]}", spent), _peer(folder, side, groups, spent, peer)]


def _foreign(folder: Path, wanted: Draft) -> Path:
    folder.mkdir(parents=True)
    for name, images in pictures(wanted).items():
        encode(folder / f"{name}.mp4", images, rate=int(wanted.embodiment.rate_hz), codec="mpeg4")
    return folder


def _rows(what: str, spent: dict[str, list[Spent]]) -> list[Result]:
    cpu = {name: [one.cpu_s for one in some] for name, some in spent.items()}
    wall = {name: [one.wall_s for one in some] for name, some in spent.items()}
    name = "decoding and encoding alone"
    return [
        speed(f"all cores, {what}", wall["ours"], wall["floor"], name=name, must=0.75, aim=0.85) | {"unit": "s"},
        speed(f"CPU, {what}", cpu["ours"], cpu["floor"], name=name, must=0.75, aim=0.85),
    ]


def _peer(
    folder: Path, side: tuple[int, int], groups: Sequence[Sequence[Draft]], spent: dict[str, list[Spent]], peer: Path
) -> Result:
    metric = f"from decoded frames, {_CAMERAS} cameras of {side[0]} x {side[1]}, over LeRobot"
    try:
        theirs = [
            sum(one.cpu_s for one in saved(peer, folder / f"lerobot-{number}", drafts, _CODEC))
            for number, drafts in enumerate(groups)
        ]
    except Missing as error:
        return missing(metric, str(error), must=5.0, aim=8.0)
    ours = [one.cpu_s for one in spent["decoded"]]
    return speed(metric, ours, theirs, name="LeRobot's writer, same codec", must=5.0, aim=8.0)


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="rough: few short episodes, small pictures")
    parser.add_argument("--peer", type=Path, default=PEER, help="LeRobot's environment, if there is one")
    arguments = parser.parse_args()
    size, results = QUICK if arguments.quick else FULL, list[Result]()
    for side in size.sides:
        with tempfile.TemporaryDirectory(prefix="volano-benchmark-") as scratch:
            results += measure(Path(scratch), side, size, arguments.peer)
    report("ingest_transcode", results, arguments.json, quick=arguments.quick)


if __name__ == "__main__":
    main()
