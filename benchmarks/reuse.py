"""What is saved where a robot's images or words did not change: the nano policy, and one of middle size.

    python -m benchmarks.reuse --json FILE [--quick]

The middle one has a random Qwen3-VL of width 1024 (12 layers, vision of 12 layers of 768), an expert of 8 blocks of 512
and three cameras of 224 x 224. By turns, on one thread, one robot is answered with and without a memory: when only its
state is new, when one image is new as well, and when every image is, where a memory only costs.
"""

import time
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.report import Row, arguments_of, compared, tell
from benchmarks.served import ROBOT
from benchmarks.served_nano import nano_policy
from volano.data.normalize import Quantiles
from volano.embodiment.contract import Embodiment
from volano.embodiment.shipped import SAWYER
from volano.model.actions import ActionCodec
from volano.model.config import BackboneConfig, ExpertConfig, ModelConfig, VisionConfig
from volano.model.policy import Policy, Sample
from volano.model.prompt import train_tokenizer
from volano.model.reuse import Memory

_WORDS = "put the red block on the plate"
_NEAR = 1e-5
_MEMORY_BYTES = 256 << 20


def middle_policy() -> Policy:
    """A Qwen3-VL of width 1024, as it was drawn."""
    config = ModelConfig(
        channels=len(ROBOT.action),
        horizon=ROBOT.horizon,
        state_channels=len(ROBOT.state),
        backbone=BackboneConfig(
            width=1024,
            layers=12,
            heads=16,
            key_value_heads=8,
            head_width=64,
            mlp_width=3072,
            vocabulary=700,
            rope_sections=(12, 10, 10),
            vision=VisionConfig(depth=12, width=768, heads=12, patch_size=16),
        ),
        expert=ExpertConfig(width=512, blocks=8, heads=8, mlp_width=1536, rope_sections=(12, 10, 10)),
    )
    unit = Quantiles(q01=(-1.0,) * len(ROBOT.action), q99=(1.0,) * len(ROBOT.action))
    codec = ActionCodec(
        embodiment=ROBOT,
        action=unit,
        state=unit,
        horizon=config.horizon,
        channels=config.channels,
        state_channels=config.state_channels,
    )
    torch.manual_seed(0)
    return Policy(config, train_tokenizer([ROBOT], [_WORDS], 700), {ROBOT.tag: codec}).eval()


def observed(robot: Embodiment, random: np.random.Generator) -> Sample:
    """A new observation."""
    images = tuple(random.integers(0, 256, (one.height, one.width, 3), np.uint8) for one in robot.cameras)
    state = random.uniform(-1, 1, len(robot.state)).astype(np.float32)
    return Sample(embodiment=robot.tag, instruction=_WORDS, images=images, state=state, session="robot")


def changed(before: Sample, new: Sample, images: int) -> Sample:
    """The next observation, of which so many images are new."""
    return replace(new, images=(*new.images[:images], *before.images[images:]))


def timed(policy: Policy, one: Sample, noise: Tensor, memory: Memory | None) -> tuple[float, NDArray[np.float32]]:
    """Milliseconds of a chunk, and the chunk."""
    began = time.perf_counter()
    [made] = policy.act_from([one], noise, memory)
    return (time.perf_counter() - began) * 1e3, made


def rows_of(name: str, policy: Policy, robot: Embodiment, rounds: int) -> list[Row]:
    """With a memory against without, in each case."""
    random, memory = np.random.default_rng(0), Memory(_MEMORY_BYTES)
    cases = {0: "state new", 1: "one image new", len(robot.cameras): "every image new"}
    found: dict[str, list[tuple[float, float]]] = {case: [] for case in cases.values()}
    last = observed(robot, random)
    noise = torch.randn(1, policy.config.horizon, policy.config.channels)
    policy.act_from([last], noise, memory)
    for _ in range(rounds + 1):
        for images, case in cases.items():
            last = changed(last, observed(robot, random), images)
            ours, with_memory = timed(policy, last, noise, memory)
            plain, without = timed(policy, last, noise, None)
            if not np.allclose(with_memory, without, atol=_NEAR):
                raise RuntimeError(f"{name}, {case}: the actions differ by {np.abs(with_memory - without).max()}")
            found[case].append((ours, plain))
    rows = []
    for case, pairs in found.items():
        with_, without_ = zip(*pairs[1:], strict=True)
        rows.append(compared(f"{name}, {case}", with_, without_, "without a memory", unit="ms", better="lower"))
    return rows


def main() -> None:
    """The command line."""
    options = arguments_of(__doc__, "half a minute").parse_args()
    rows = rows_of("nano", nano_policy(), SAWYER, 20 if options.quick else 100)
    torch.set_num_threads(1)
    rows += rows_of("middle", middle_policy(), ROBOT, 3 if options.quick else 15)
    tell("reuse", options.json, quick=options.quick, rows=rows, packages=("torch", "transformers"))


if __name__ == "__main__":
    main()
