"""Prompts and losses as they were when written down: a change of either needs a reason, and a new file.

`python -m tests.unit.model.test_golden` writes the files anew.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jobs.recipes import recipe
from volano.embodiment.shipped import SHIPPED
from volano.model.actions import ActionCodec
from volano.model.config import ModelConfig, TauDistribution
from volano.model.policy import Policy, Sample
from volano.model.prompt import prompt_text, state_text, train_tokenizer

GOLDEN = Path(__file__).parents[2] / "golden"
TAUS: tuple[TauDistribution, ...] = ("logit_normal", "beta_clean", "beta_noisy")
INSTRUCTIONS = ("open the door", "go to the red box")


def prompts() -> dict[str, str]:
    """Every shipped robot's, and the words of a state."""
    return {tag: prompt_text(robot, "do it") for tag, robot in sorted(SHIPPED.items())} | {
        "state": state_text((0, 128, 255)),
        "constant": prompt_text(SHIPPED["car"], "do it", "constant"),
    }


def nano(config: ModelConfig) -> tuple[Policy, list[Sample]]:
    """A fresh nano policy and an observation of each robot, from fixed seeds."""
    random = np.random.default_rng(0)
    codecs, samples = {}, []
    for tag, robot in sorted(SHIPPED.items()):
        actions = random.uniform(-1, 1, (50, len(robot.action))).astype(np.float32)
        states = random.uniform(-1, 1, (50, len(robot.state))).astype(np.float32)
        codecs[tag] = ActionCodec.fit(robot, [(actions, states)], horizon=8, channels=8, state_channels=8)
        target = codecs[tag].encode(actions, 46)
        images = tuple(random.integers(0, 256, (c.height, c.width, 3)).astype(np.uint8) for c in robot.cameras)
        samples.append(
            Sample(
                embodiment=tag,
                instruction=INSTRUCTIONS[0],
                images=images,
                state=states[46],
                target=target.values,
                mask=target.mask,
            )
        )
    torch.manual_seed(0)
    return Policy(config, train_tokenizer(SHIPPED.values(), INSTRUCTIONS, config.backbone.vocabulary), codecs), samples


def losses() -> dict[str, Any]:
    """Per robot and distribution of tau; chunks that end early are masked."""
    policy, samples = nano(recipe("nano").model)
    found: dict[str, Any] = {}
    for tau in TAUS:
        with torch.no_grad():
            values = policy.loss(policy.batch(samples), tau, torch.Generator().manual_seed(1))
        found[tau] = dict(zip(sorted(SHIPPED), values.tolist(), strict=True))
    return found


def test_prompts_are_byte_for_byte_those_written_down() -> None:
    assert prompts() == json.loads((GOLDEN / "prompts.json").read_text())


def test_losses_are_those_written_down() -> None:
    expected = json.loads((GOLDEN / "nano_losses.json").read_text())
    found = losses()
    assert found.keys() == expected.keys()
    for tau, values in expected.items():
        assert found[tau] == pytest.approx(values, rel=1e-4), tau


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, data in (("prompts", prompts()), ("nano_losses", losses())):
        (GOLDEN / f"{name}.json").write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")
