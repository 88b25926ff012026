"""A dataset version as training reads it: demonstrations, with their pictures or to be shown them, and a new policy
fitted to them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volano.data.footage import Footage
from volano.data.lerobot_numbers import recorded_rows, stated_quantiles
from volano.data.lerobot_read import Episode, places, read
from volano.data.version import DatasetVersion
from volano.embodiment.contract import Embodiment
from volano.errors import Code, DataError
from volano.model.actions import ActionCodec, is_anchored
from volano.model.config import ModelConfig
from volano.model.policy import Policy
from volano.model.pretrained import load_tokenizer
from volano.model.prompt import train_tokenizer
from volano.train.config import FeedConfig
from volano.train.corpus import Corpus
from volano.train.feed import Demonstration
from volano.train.film import Film, StreamedFilm

_HELD_SHARE = 0.25
"""Of a worker's memory, which decoded pictures may take: the rest is the network's."""
_HELD_BYTES = 1 << 30


def demonstrations(folder: Path, version: DatasetVersion) -> dict[str, list[Demonstration]]:
    """Every episode of a materialised version, by embodiment tag."""
    return {
        tag: [demonstration(episode, embodiment) for episode in read(folder / tag)]
        for tag, embodiment in sorted(version.embodiments.items())
    }


def streamed(
    folder: Path, version: DatasetVersion, footage: Footage, shown: Mapping[int, NDArray[np.uint8]]
) -> dict[str, list[Demonstration]]:
    """Every episode of a version of which the folder holds the tables, by embodiment tag; their pictures are `shown` by
    a supply. Raises DataError(E-DATA-013) where tables and footage differ."""
    files = footage.first_frames()
    found: dict[str, list[Demonstration]] = {}
    for tag, embodiment in sorted(version.embodiments.items()):
        found[tag] = []
        for episode, videos in zip(read(folder / tag, pictures=False), places(folder / tag), strict=True):
            films = []
            for camera in embodiment.cameras:
                path, before = videos[camera.name]
                if f"{tag}/{path}" not in files:
                    raise DataError(
                        Code.DATA_VERSION, f"nothing says what {tag}/{path} holds", "build the version again"
                    )
                first = files[f"{tag}/{path}"] + before
                films.append(StreamedFilm(frames=range(first, first + len(episode.action)), shown=shown))
            found[tag].append(_demonstration(episode, tuple(films)))
    return found


def origin(episodes: Mapping[str, Sequence[Demonstration]], frame: int) -> str:
    """In words, which frame of streamed episodes has that number."""
    for tag, items in episodes.items():
        for episode in items:
            for number, film in enumerate(episode.images):
                if isinstance(film, StreamedFilm) and frame in film.frames:
                    return f"{tag} episode {episode.episode} tick {frame - film.frames.start} of camera {number}"
    return f"frame {frame}, which no episode has"


def decoded_bytes(folder: Path, version: DatasetVersion) -> int:
    """What all pictures of a version take in memory, by the tables in a folder."""
    total = 0
    for tag, robot in version.embodiments.items():
        frames = json.loads((folder / tag / "meta" / "info.json").read_bytes())["total_frames"]
        total += frames * sum(3 * camera.height * camera.width for camera in robot.cameras)
    return total


def is_streamed(config: FeedConfig, decoded: int, room: float) -> bool:
    """Whether the pictures of a version that takes so many bytes `decoded` are brought step by step, on a worker that
    has `room` bytes, 0 where nobody knows: then only what is small is held."""
    if config.kind == "auto":
        return decoded > (_HELD_SHARE * room if room else _HELD_BYTES)
    return config.kind == "ray"


def demonstration(episode: Episode, embodiment: Embodiment) -> Demonstration:
    """One episode, cameras in the contract's order."""
    return _demonstration(episode, tuple(episode.images[camera.name] for camera in embodiment.cameras))


def _demonstration(episode: Episode, images: tuple[Film, ...]) -> Demonstration:
    kinds = np.empty(len(episode.action), dtype="<U12")
    for segment in episode.segments:
        kinds[segment.start : segment.end] = segment.kind
    return Demonstration(
        instruction=episode.instruction,
        images=images,
        state=episode.state,
        action=episode.action,
        kinds=kinds,
        succeeded=episode.outcome.success and episode.outcome.autonomous,
        weight=max(1, round(episode.weight)),
        episode=episode.content_id,
        skipped=episode.skipped,
    )


def fit_codecs(
    episodes: Mapping[str, Sequence[Demonstration]], embodiments: Mapping[str, Embodiment], model: ModelConfig
) -> dict[str, ActionCodec]:
    """Statistics of every embodiment on these episodes."""
    return {
        tag: ActionCodec.fit(
            embodiments[tag],
            [(episode.action, episode.state) for episode in items],
            horizon=model.horizon,
            channels=model.channels,
            state_channels=model.state_channels,
            path_frame=model.path_frame,
        )
        for tag, items in episodes.items()
    }


def stated_codecs(folder: Path, embodiments: Mapping[str, Embodiment], model: ModelConfig) -> dict[str, ActionCodec]:
    """Those that `fit_codecs` makes of all episodes of a materialised version, without them: by the statistics that
    stand in it. Poses of paths are no recorded rows, so for these the rows are read, without pictures."""
    return {tag: _stated_codec(folder / tag, embodiment, model) for tag, embodiment in sorted(embodiments.items())}


def _stated_codec(folder: Path, embodiment: Embodiment, model: ModelConfig) -> ActionCodec:
    sizes = {"horizon": model.horizon, "channels": model.channels, "state_channels": model.state_channels}
    if is_anchored(embodiment, model.path_frame):
        return ActionCodec.fit(embodiment, recorded_rows(folder), **sizes, path_frame=model.path_frame)
    state, action = stated_quantiles(folder)
    return ActionCodec(embodiment=embodiment, state=state, action=action, **sizes, path_frame=model.path_frame)


def new_policy(
    episodes: Mapping[str, Sequence[Demonstration]],
    embodiments: Mapping[str, Embodiment],
    model: ModelConfig,
    corpus: Corpus | None,
    codecs: Mapping[str, ActionCodec],
) -> Policy:
    """A policy with random weights, or the backbone's pretrained ones: a codec for every robot, one apart for each of
    the corpus's arms, and a tokenizer that has a word for all that was said to either."""
    text_codecs = fit_codecs(corpus.by_arm(), corpus.robots, model) if corpus is not None else {}
    source = model.backbone.pretrained
    if source:
        cameras = {camera.name for robot in embodiments.values() for camera in robot.cameras}
        return Policy(model, load_tokenizer(source, cameras), codecs, text_codecs, pretrained=True)
    robots = [*embodiments.values(), *(corpus.robots.values() if corpus is not None else ())]
    instructions = {episode.instruction for items in episodes.values() for episode in items}
    instructions |= corpus.instructions() if corpus is not None else set()
    return Policy(model, train_tokenizer(robots, instructions, model.backbone.vocabulary), codecs, text_codecs)
