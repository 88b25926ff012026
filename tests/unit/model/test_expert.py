"""The choices that the paper leaves open do what their names say."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from volano.model.backbone import Hidden
from volano.model.config import ExpertConfig
from volano.model.expert import ActionExpert, Stream
from volano.model.packing import Packing

CONFIG = ExpertConfig(width=32, blocks=2, heads=2, mlp_width=64, rope_sections=(4, 2, 2))
WORDS, ROWS = 5, 3


def expert(config: ExpertConfig) -> ActionExpert:
    torch.manual_seed(0)
    built = ActionExpert(config, vlm_width=16, channels=4, state_channels=0)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape))
    return built


def inputs(first_position: int = 0) -> dict[str, Any]:
    """A prompt of 3 words, and one of 5."""
    torch.manual_seed(1)
    positions = torch.cat((torch.arange(3), torch.arange(WORDS))) + first_position
    return {
        "noisy_BHK": torch.randn(2, ROWS, 4),
        "tau_B": torch.tensor([0.3, 0.9]),
        "hidden": Hidden(
            states_TV=torch.randn(3 + WORDS, 16), positions_3T=positions.expand(3, -1), packing=Packing((3, WORDS))
        ),
        "state_BC": None,
    }


def words_after_the_blocks(built: ActionExpert, given: dict[str, Any]) -> Tensor:
    """Of the longer prompt."""
    seen: list[Tensor] = []
    hook = built.blocks[-1].register_forward_hook(lambda *arguments: seen.append(arguments[2][-WORDS - ROWS : -ROWS]))
    built(**given)
    hook.remove()
    return seen[0]


def test_prefix_attention_keeps_the_actions_from_the_prompt_and_joint_does_not() -> None:
    for attention, independent in (("prefix", True), ("joint", False)):
        built = expert(replace(CONFIG, attention=attention))  # type: ignore[arg-type]
        given = inputs()
        before = words_after_the_blocks(built, given)
        after = words_after_the_blocks(built, {**given, "noisy_BHK": given["noisy_BHK"] + 1})
        assert torch.equal(before, after) is independent


def test_what_is_seen_is_what_the_mask_says() -> None:
    streams = {
        attention: Stream(packing=Packing((5,)), rows=2, attention=attention, device=torch.device("cpu"))
        for attention in ("joint", "prefix")
    }
    assert streams["joint"].seen(5) is None
    seen = streams["prefix"].seen(5)
    assert seen is not None
    assert seen.int().tolist() == [[1, 1, 1, 0, 0]] * 3 + [[1, 1, 1, 1, 1]] * 2


def test_positions_that_continue_are_relative_and_those_that_restart_are_not() -> None:
    """Rotary positions are relative: moving the whole stream changes nothing, moving the prompt alone does."""
    for positions, unmoved in (("continue", True), ("restart", False)):
        built = expert(replace(CONFIG, action_positions=positions))  # type: ignore[arg-type]
        first, second = built(**inputs()), built(**inputs(first_position=7))
        assert torch.allclose(first, second, atol=1e-5) is unmoved
