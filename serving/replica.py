"""One policy as a Ray Serve replica: fetched, verified, loaded, warmed up, then batched.

No byte of a policy is used before its signature and hashes held. An answer depends on the observation and on its
place (robot, episode, tick) only: neither on the replica, nor on who shares the batch, nor on a restart.
"""

import asyncio
import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from numpy.typing import NDArray
from ray import serve

from volano.embodiment.contract import Embodiment
from volano.errors import Code, ContractError
from volano.inference.session import IDENTITY, PROMPT, STATE, image_key
from volano.model.folder import load
from volano.model.policy import Policy, Sample
from volano.registry.release import fetch
from volano.storage.open import open_store

MAX_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Work:
    """One observation, ready for the network."""

    sample: Sample
    seed: int
    """Of the noise that its action chunk starts from."""


class Replica:
    """Answers observations with one policy."""

    def __init__(self, policy: str, store: str, trusted: Sequence[bytes]) -> None:
        """`policy` is a digest, `store` a URL, `trusted` the raw Ed25519 public keys whose signatures count.

        Raises PolicyError like `volano.registry.release.fetch`, and when the files are no policy.
        """
        torch.set_num_threads(1)
        keys = [Ed25519PublicKey.from_public_bytes(key) for key in trusted]
        with tempfile.TemporaryDirectory(prefix="volano-policy-") as temporary:
            folder = Path(temporary) / "policy"
            fetch(open_store(store), policy, folder, keys)
            self._policy = load(folder)
        self._tags = {codec.embodiment.fingerprint: tag for tag, codec in self._policy.codecs.items()}
        for codec in self._policy.codecs.values():
            answer(self._policy, [Work(sample=_still(codec.embodiment), seed=0)])

    async def act(self, observation: Mapping[str, Any]) -> NDArray[np.float32]:
        """A chunk (horizon, channels) in physical units; raises ContractError for a robot the policy does not know."""
        fingerprint = observation[IDENTITY]["embodiment"]
        if fingerprint not in self._tags:
            raise ContractError(
                Code.CONTRACT_UNKNOWN,
                f"this policy was not trained for contract {fingerprint[:12]}",
                f"it serves: {', '.join(sorted(self._tags.values()))}",
            )
        robot = self._policy.codec(self._tags[fingerprint]).embodiment
        chunk: NDArray[np.float32] = await self._together(read(robot, observation))
        return chunk

    async def ready(self) -> bool:
        """Answers once the replica can act."""
        return True

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=0.0)
    async def _together(self, work: list[Work]) -> list[NDArray[np.float32]]:
        """Whatever came in while the last batch ran; health checks go on meanwhile."""
        return await asyncio.to_thread(answer, self._policy, work)


def read(robot: Embodiment, observation: Mapping[str, Any]) -> Work:
    """A checked observation, the map `volano` included, as the network wants it."""
    place = observation[IDENTITY]
    sample = Sample(
        embodiment=robot.tag,
        instruction=observation[PROMPT],
        images=tuple(observation[image_key(camera.name)] for camera in robot.cameras),
        state=observation[STATE],
    )
    return Work(sample=sample, seed=seed(place["robot"], place["episode"], place["tick"]))


def seed(robot: str, episode: str, tick: int) -> int:
    """The seed of one request's noise, so that a logged request can be answered again."""
    return int.from_bytes(hashlib.sha256(f"{robot}\0{episode}\0{tick}".encode()).digest()[:7])


def answer(policy: Policy, work: Sequence[Work]) -> list[NDArray[np.float32]]:
    """One chunk per piece of work, the same in any batch; images of different sizes are never stacked together."""
    shape = (policy.config.horizon, policy.config.channels)
    groups: dict[tuple[int, ...], list[int]] = {}
    for position, item in enumerate(work):
        groups.setdefault(item.sample.images[0].shape, []).append(position)
    chunks: dict[int, NDArray[np.float32]] = {}
    for positions in groups.values():
        noise = [torch.randn(shape, generator=torch.Generator().manual_seed(work[at].seed)) for at in positions]
        acted = policy.act_from([work[at].sample for at in positions], torch.stack(noise))
        chunks.update(zip(positions, acted, strict=True))
    return [chunks[position] for position in range(len(work))]


def _still(robot: Embodiment) -> Sample:
    """A dark view and the middle of every state, to warm up with."""
    return Sample(
        embodiment=robot.tag,
        instruction="wait",
        images=tuple(np.zeros((camera.height, camera.width, 3), np.uint8) for camera in robot.cameras),
        state=np.array([(channel.low + channel.high) / 2 for channel in robot.state], np.float32),
    )
