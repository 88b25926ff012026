"""Dataset versions of synthetic films for the benchmarks of the feed: every image holds its episode and its tick.

Drifting texture and noise, at the sizes of real cameras; a stamp of blocks that survive H.264, and that is read again
by whoever reads the films: a benchmark with a wrong frame has no score.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.unit.data.bundles import Draft, claims_with, columns, encode, manifest_of, write_steps
from tests.unit.model.tiny import tiny_model
from volano.data.episode import STEPS_FILE, Segment, video_file
from volano.data.footage import Footage
from volano.data.lerobot import SourceEpisode, write
from volano.data.version import DatasetVersion, EpisodeReference, commit, describe_folder, is_table, materialize
from volano.embodiment.contract import Camera, Embodiment
from volano.embodiment.shipped import SHIPPED
from volano.model.actions import ActionCodec
from volano.storage.open import open_store
from volano.train.dataset import fit_codecs, streamed
from volano.train.feed import Demonstration, Feed

HORIZON = 50
_BLOCK, _ROWS, _COLUMNS = 16, 6, 4
_BITS = 1 << np.arange(_ROWS * _COLUMNS)
_MOST_TICKS = 1 << 12

Picture = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What is recorded."""

    episodes: int
    ticks: int
    cameras: int
    side: int = 224
    group: int = 15
    """Frames of a group of pictures."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A version, in a store and with its tables in a folder."""

    shape: Shape
    robot: Embodiment
    version: DatasetVersion
    folder: Path
    """All of it, as whoever has a copy reads it."""
    tables: Path

    @property
    def url(self) -> str:
        """Of the local store that `kept` films are in."""
        return str(self.folder.absolute().with_name("store"))

    def put(self, url: str) -> None:
        """Into another store."""
        commit(open_store(url), self.folder, self.version)

    def footage(self) -> Footage:
        """Where its frames stand."""
        return Footage.read(self.tables, {self.robot.tag: self.robot})

    def keys(self) -> dict[str, str]:
        """Path of each video to the key of its object."""
        return self.footage().keys(self.version)

    def episodes(self, shown: dict[int, Picture]) -> dict[str, list[Demonstration]]:
        """Its episodes, whose pictures are shown."""
        return streamed(self.tables, self.version, self.footage(), shown)

    def codecs(self) -> dict[str, ActionCodec]:
        """Of its robot, for a model of 50 steps."""
        return fit_codecs(self.episodes({}), {self.robot.tag: self.robot}, tiny_model(horizon=HORIZON))


def kept(films: Path, shape: Shape) -> Recorded:
    """The films of that shape in a folder of films: recorded once, and read by every later run."""
    place = films / f"{shape.episodes}x{shape.ticks}x{shape.cameras}-{shape.side}-{shape.group}"
    if not (place / "version.id").exists():
        shutil.rmtree(place, ignore_errors=True)
        (place / "version.id").write_text(record(place, f"{place.absolute()}/store", shape).version.id)
    shutil.rmtree(place / "tables", ignore_errors=True)
    store = open_store(f"{place.absolute()}/store")
    version = materialize(store, (place / "version.id").read_text(), place / "tables", is_table)
    robot = version.embodiments["bench"]
    return Recorded(shape=shape, robot=robot, version=version, folder=place / "version", tables=place / "tables")


def record(scratch: Path, url: str, shape: Shape) -> Recorded:
    """Record, and commit into a store."""
    views = tuple(Camera(name=f"view{number}", height=shape.side, width=shape.side) for number in range(shape.cameras))
    robot = replace(SHIPPED["sawyer"], tag="bench", cameras=views, horizon=HORIZON)
    sources = [_episode(scratch / f"bundle-{number}", robot, shape, number) for number in range(shape.episodes)]
    folder = scratch / "version"
    write(folder / robot.tag, robot, sources)
    version = DatasetVersion(
        parent="",
        reason="benchmark",
        episodes=tuple(
            EpisodeReference(content_id=one.manifest.content_id, embodiment=robot.fingerprint, weight=1.0)
            for one in sorted(sources, key=lambda source: source.manifest.content_id)
        ),
        embodiments={robot.tag: robot},
        files=describe_folder(folder),
    )
    store = open_store(url)
    commit(store, folder, version)
    materialize(store, version.id, scratch / "tables", is_table)
    return Recorded(shape=shape, robot=robot, version=version, folder=folder, tables=scratch / "tables")


def _episode(place: Path, robot: Embodiment, shape: Shape, number: int) -> SourceEpisode:
    draft = Draft(embodiment=robot, robot="bench-01", attempt=f"attempt-{number}", seed=number, frames=shape.ticks)
    place.mkdir(parents=True)
    table = columns(draft)
    table["state"][:, 0] = number  # so that a sample says where it is from
    table["state"][:, 1] = np.arange(shape.ticks)
    write_steps(place / STEPS_FILE, table, robot)
    random = np.random.default_rng(number)
    options = {"g": str(shape.group), "sc_threshold": "0"}
    for camera in robot.cameras:
        wide = random.integers(0, 160, (shape.side // 8, shape.side // 4, 3)).astype(np.uint8)
        texture = wide.repeat(8, axis=0).repeat(8, axis=1)
        images = [_image(texture, random, shape.side, number, tick) for tick in range(shape.ticks)]
        encode(place / video_file(camera.name), images, rate=int(robot.rate_hz), options=options)
    whole = Segment(start=0, end=shape.ticks, kind="intervention")
    return SourceEpisode(folder=place, manifest=claims_with(manifest_of(place, draft), segments=(whole,)), weight=1.0)


def _image(texture: Picture, random: np.random.Generator, side: int, episode: int, tick: int) -> Picture:
    drift = tick % side
    image = texture[:side, drift : drift + side] + random.integers(0, 12, (side, side, 1), dtype=np.uint8)
    bits = (episode * _MOST_TICKS + tick) & _BITS
    blocks = np.where(bits.reshape(_ROWS, _COLUMNS), 235, 20).astype(np.uint8)
    image[: _ROWS * _BLOCK, : _COLUMNS * _BLOCK] = blocks.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)[..., None]
    return image


def stamp(image: Picture) -> tuple[int, int]:
    """Episode and tick of an image."""
    half = _BLOCK // 2
    seen = image[half : _ROWS * _BLOCK : _BLOCK, half : _COLUMNS * _BLOCK : _BLOCK, 0] > 128
    return divmod(int(_BITS[seen.reshape(-1)].sum()), _MOST_TICKS)


def require(images: tuple[Picture, ...], episode: int, tick: int) -> None:
    """Every camera shows that; raises SystemExit: without a score."""
    for image in images:
        if stamp(image) != (episode, tick):
            raise SystemExit(f"wrong frame: {stamp(image)} for {(episode, tick)}")


def checked(feed: Feed, step: int) -> int:
    """Make the samples of a step and look at every image; how many samples."""
    samples = feed.samples(step, 0, 1)
    for sample in samples:
        require(sample.images, int(sample.state[0]), int(sample.state[1]))
    return len(samples)
