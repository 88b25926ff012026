"""What it costs to take in attempts whose pictures have to be encoded: a LeRobot dataset with AV1 videos is converted
(`volano data convert`), sent, judged, and made a version.

Beside it, on as many cores, the same videos are decoded and encoded with the same settings and nothing else. From
frames that are decoded already, which a robot records, LeRobot's writer is the peer, in an environment of its own
(`--peer FOLDER`), and encoding alone the limit: it is most of what either of them does.
`python -m benchmarks.ingest_transcode --json FILE [--quick] [--height PIXELS] [--peer FOLDER]`.
"""

import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.attempts import Images, arm, draft, pictures
from benchmarks.foreign import dataset, request, video
from benchmarks.ingest_sides import CAMERAS, Side, built, cores, judged, run
from benchmarks.lerobot_peer import compared_with
from benchmarks.measuring import Seconds, speed, timed
from benchmarks.report import Row
from tests.unit.data.bundles import ARM, Draft, columns
from volano.data.episode import Outcome
from volano.data.readers.child import Request
from volano.data.readers.deliver import into_store
from volano.data.record import Recorder
from volano.data.upload import upload
from volano.data.verdict import pending
from volano.data.video import ColourConverter, VideoEncoder
from volano.embodiment.contract import Embodiment
from volano.storage.folder import FolderStore

Image = NDArray[np.uint8]
_CODEC = {"preset": "veryfast", "crf": "12", "g": "15", "bf": "0", "x264-params": "cabac=0"}
"""Of the recorder, for LeRobot."""
RATE_HZ = ARM.rate_hz
_OUTCOME = Outcome(success=True, autonomous=False, source="operator")


_SIDES = (
    Side(height=224, width=224, episodes=8, frames=200, repeats=5),
    Side(height=480, width=640, episodes=8, frames=40, repeats=5),
)
_QUICK = Side(height=224, width=224, episodes=4, frames=60, repeats=2)


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


def floor(films: Sequence[Path]) -> None:
    """Decode and encode an attempt's films, and keep nothing."""
    for path in films:
        encoder = VideoEncoder(path.name, RATE_HZ)
        for image in decoded(path):
            encoder.add(image)
        encoder.end()


def encoded(wanted: Draft, views: Images) -> int:
    """Encode frames, and keep nothing, as nobody with these settings can do faster; the last one's bytes."""
    left = 0
    for name, images in views.items():
        encoder = VideoEncoder(name, wanted.embodiment.rate_hz)
        for image in images:
            encoder.add(image)
        left = sum(len(frame.data) for frame in encoder.end())
    return left


def taken_in(place: Path, send: Callable[[FolderStore], object], robot: Embodiment, workers: int) -> None:
    """Attempts are sent, judged and become a version."""
    (place / "store").mkdir(parents=True)
    store = FolderStore(place / "store")
    send(store)
    judged(store, pending(store), robot, workers)
    built(store, robot)


def converted(request: Request, store: FolderStore) -> None:
    """A whole dataset, as `volano data convert` sends it."""
    told = {one.status: one for one in into_store(request, store)}
    assert told.keys() == {"converted"}, told
    cameras = told["converted"].plan["cameras"].values()
    assert {one["treatment"] for one in cameras} == {"encode"}, cameras


def on_all_cores(work: Callable[[Sequence[Path]], object], films: Sequence[Sequence[Path]]) -> None:
    """Each attempt in one of as many processes as there are cores, which end with it."""
    with ProcessPoolExecutor(cores(), mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(work, films))


def measure(folder: Path, side: Side, peer: Path) -> list[Row]:
    """One size of pictures, in turns, who is first taking turns."""
    robot = arm(CAMERAS, side.height, side.width)
    drafts = [draft(robot, number, side.frames) for number in range(side.episodes)]
    source = dataset(folder / "source", drafts)
    asked = request(source, robot, drafts[0].robot, cores())
    films = [[video(source, camera.name, number) for camera in robot.cameras] for number in range(len(drafts))]
    seen = [pictures(one) for one in drafts]
    spent: dict[str, list[Seconds]] = {"ours": [], "floor": [], "decoded": [], "encoded": []}

    def from_frames(store: FolderStore) -> None:
        for one, views in zip(drafts, seen, strict=True):
            made = recorded(folder / "bundles", one, {name: iter(images) for name, images in views.items()})
            upload(store, made)
            shutil.rmtree(made)

    for repeat in range(side.repeats):
        place = folder / str(repeat)
        work = {
            "ours": lambda: taken_in(place / "ours", partial(converted, asked), robot, cores()),  # noqa: B023  # at once
            "floor": lambda: on_all_cores(floor, films),
            "decoded": lambda: taken_in(place / "decoded", from_frames, robot, 1),  # noqa: B023
            "encoded": lambda: [encoded(one, views) for one, views in zip(drafts, seen, strict=True)],
        }
        for name in list(work)[:: 1 if repeat % 2 else -1]:
            spent[name].append(timed(work[name]))
        shutil.rmtree(place)
    limit = "decoding and encoding alone"
    cpu = {name: [one.cpu for one in some] for name, some in spent.items()}
    wall = {name: [one.wall for one in some] for name, some in spent.items()}
    metric = f"from decoded frames, {side.name}"
    return [
        speed(f"all cores, {side.name}", wall["ours"], wall["floor"], limit, unit="1 / s", must=0.75, aim=0.85),
        speed(f"CPU, {side.name}", cpu["ours"], cpu["floor"], limit, must=0.75, aim=0.85),
        speed(metric, cpu["decoded"], cpu["encoded"], "encoding alone"),
        compared_with(peer, folder, metric, cpu["decoded"], side.pictures, drafts, _CODEC, must=5.0, aim=8.0),
    ]


if __name__ == "__main__":
    run("ingest_transcode", __doc__, _SIDES, _QUICK, measure)
