"""A dataset version on disk as training reads it: demonstrations in memory, and the codecs fitted on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from volano.data.lerobot_read import Episode, read
from volano.data.version import DatasetVersion
from volano.embodiment.contract import Embodiment
from volano.model.actions import ActionCodec
from volano.model.config import ModelConfig
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
        )
        for tag, items in episodes.items()
    }
