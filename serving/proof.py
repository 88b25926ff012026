"""Before an engine answers robots, its actions are held against those of fp32 without a compiler.

Observations are generated: noise and smooth pictures, states from all of their limits, with and without a prefix, alone
and in batches. A policy's own robots see pictures that differ less; what it takes for noise is the harder case.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from serving.work import MAX_BATCH, Work, answer
from volano.embodiment.contract import Embodiment
from volano.embodiment.prefix import Prefix, longest_delay
from volano.inference.guard import fallback_chunk
from volano.model.engine import REFERENCE, Engine, Parity, compared, require_parity
from volano.model.policy import Policy, Sample

OBSERVATIONS = 16
"""Of each robot."""
_BATCHES = (1, 1, 1, 1, 2, 2, MAX_BATCH)


def warm_up(policy: Policy) -> None:
    """Answer to oneself once for each robot and way, so that no robot waits for what happens once."""
    for codec in policy.codecs.values():
        for item in generated(codec.embodiment)[:2]:
            answer(policy, [item])


def prove(policy: Policy, engine: Engine) -> tuple[Parity, ...]:
    """Let a policy compute in an engine from now on, and say for each robot how near that is to the reference, which
    needs no proof.

    Raises PolicyError(E-POLICY-011) when it is not near enough.
    """
    if engine == REFERENCE:
        return ()
    work = {tag: generated(codec.embodiment) for tag, codec in policy.codecs.items()}
    reference = answered(policy, work, REFERENCE)
    if engine.compiled:
        policy.expert.compile_blocks()
    other = answered(policy, work, engine)
    found = tuple(compared(policy.codec(tag).embodiment, reference[tag], other[tag]) for tag in sorted(work))
    require_parity(engine, found)
    return found


def answered(
    policy: Policy, work: Mapping[str, Sequence[Work]], engine: Engine
) -> dict[str, list[NDArray[np.float32]]]:
    """Each robot's chunks, in order."""
    found: dict[str, list[NDArray[np.float32]]] = {}
    for tag, items in work.items():
        starts = np.cumsum([0, *_BATCHES])
        parts = [items[start : start + size] for start, size in zip(starts, _BATCHES, strict=False)]
        found[tag] = [chunk for part in parts for chunk in answer(policy, part, engine)]
    return found


def generated(robot: Embodiment) -> list[Work]:
    """The same ones each time."""
    random = np.random.default_rng(0)
    return [Work(sample=_sample(robot, number, random), seed=number) for number in range(OBSERVATIONS)]


def _sample(robot: Embodiment, number: int, random: np.random.Generator) -> Sample:
    low, high = (np.array([getattr(one, side) for one in robot.state]) for side in ("low", "high"))
    return Sample(
        embodiment=robot.tag,
        instruction=("wait", "pick up the red cup", "go to the blue box")[number % 3],
        images=tuple(_picture(camera.height, camera.width, random) for camera in robot.cameras),
        state=random.uniform(low, high).astype(np.float32),
        prefix=_standing(robot) if number % 2 else None,
    )


def _picture(height: int, width: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Blocks of colour of some size, down to single pixels."""
    block = int(random.choice([1, 4, 16]))
    small = random.integers(0, 256, (-(-height // block), -(-width // block), 3), np.uint8)
    return np.ascontiguousarray(small.repeat(block, 0).repeat(block, 1)[:height, :width])


def _standing(robot: Embodiment) -> Prefix:
    """What a robot that stands still goes on executing."""
    return Prefix(actions=fallback_chunk(robot)[:1], delay=min(1, longest_delay(robot)))
