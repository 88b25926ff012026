"""What a replica computes: observations as the network wants them, and a chunk for each.

An answer depends on the observation and on its place (robot, episode, tick) only: neither on the replica, nor on who
shares the batch, nor on a restart, nor on what was used again, but for rounding.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from volano.embodiment.contract import Embodiment
from volano.embodiment.prefix import Prefix
from volano.inference.session import IDENTITY, PREFIX, PROMPT, STATE, image_key
from volano.model.engine import REFERENCE, Engine
from volano.model.policy import Policy, Sample
from volano.model.reuse import Memory

MAX_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Work:
    """One observation, ready for the network."""

    sample: Sample
    seed: int
    """Of the noise that its action chunk starts from."""


def read(robot: Embodiment, observation: Mapping[str, Any]) -> Work:
    """A checked observation, the map `volano` included, as the network wants it."""
    place = observation[IDENTITY]
    sample = Sample(
        embodiment=robot.tag,
        instruction=observation[PROMPT],
        images=tuple(observation[image_key(camera.name)] for camera in robot.cameras),
        state=observation[STATE],
        prefix=Prefix(**place[PREFIX]) if PREFIX in place else None,
        session=place["robot"],
    )
    return Work(sample=sample, seed=seed(place["robot"], place["episode"], place["tick"]))


def seed(robot: str, episode: str, tick: int) -> int:
    """The seed of one request's noise, so that a logged request can be answered again."""
    return int.from_bytes(hashlib.sha256(f"{robot}\0{episode}\0{tick}".encode()).digest()[:7])


def answer(
    policy: Policy, work: Sequence[Work], engine: Engine = REFERENCE, memory: Memory | None = None
) -> list[NDArray[np.float32]]:
    """One chunk per piece of work, the same in any batch; robots whose first pictures have one size go through the
    network together, which is faster. A compiled engine's policy is compiled already; `memory` holds what robots showed
    last."""
    shape = (policy.config.horizon, policy.config.channels)
    groups: dict[tuple[int, ...], list[int]] = {}
    for position, item in enumerate(work):
        groups.setdefault(item.sample.images[0].shape, []).append(position)
    chunks: dict[int, NDArray[np.float32]] = {}
    for positions in groups.values():
        noise = [torch.randn(shape, generator=torch.Generator().manual_seed(work[at].seed)) for at in positions]
        with torch.autocast(policy.device.type, torch.bfloat16, enabled=engine.precision == "bf16"):
            acted = policy.act_from([work[at].sample for at in positions], torch.stack(noise), memory)
        chunks.update(zip(positions, acted, strict=True))
    return [chunks[position] for position in range(len(work))]
