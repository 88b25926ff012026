"""A dataset version on disk as training reads it: demonstrations in memory, and a new policy fitted to them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from volano.data.lerobot_numbers import recorded_rows, stated_quantiles
from volano.data.lerobot_read import Episode, read
from volano.data.version import DatasetVersion
from volano.embodiment.contract import Embodiment
from volano.model.actions import ActionCodec, is_anchored
from volano.model.config import ModelConfig
from volano.model.policy import Policy
from volano.model.pretrained import load_tokenizer
from volano.model.prompt import train_tokenizer
from volano.train.corpus import Corpus
from volano.train.feed import Demonstration


def demonstrations(folder: Path, version: DatasetVersion) -> dict[str, list[Demonstration]]:
    """Every episode of a materialised version, by embodiment tag."""
    return {
        tag: [demonstration(episode, embodiment) for episode in read(folder / tag)]
        for tag, embodiment in sorted(version.embodiments.items())
    }


def demonstration(episode: Episode, embodiment: Embodiment) -> Demonstration:
    """One episode, cameras in the contract's order."""
    kinds = np.empty(len(episode.action), dtype="<U12")
    for segment in episode.segments:
        kinds[segment.start : segment.end] = segment.kind
    return Demonstration(
        instruction=episode.instruction,
        images=tuple(episode.images[camera.name] for camera in embodiment.cameras),
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
