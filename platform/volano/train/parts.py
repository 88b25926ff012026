"""The parts of the network that a stage may freeze or give a learning rate of their own, told by parameters' names.

Needs no torch, so that a command refuses what there is not before any worker starts.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Literal

from volano.errors import Code, TrainError
from volano.train.config import OptimizerConfig

Part = Literal["vision", "connector", "embeddings", "language", "expert"]
PARTS: tuple[Part, ...] = ("vision", "connector", "embeddings", "language", "expert")
"""Vision tower; what maps its features to tokens; token embeddings and output head; language layers; action expert."""
BACKBONE: tuple[Part, ...] = PARTS[:-1]


def part_of(name: str) -> Part:
    """The part of a policy's parameter, by its name in `Policy.named_parameters`."""
    if name.startswith("expert."):
        return "expert"
    if ".visual." in name:
        return "connector" if "merger" in name else "vision"
    return "embeddings" if "embed_tokens" in name or "lm_head" in name else "language"


def is_backbone_frozen(frozen: Sequence[str]) -> bool:
    """Whether nothing of the backbone learns, so that its forward pass needs no gradient."""
    return set(BACKBONE) <= set(frozen)


def check_optimizer(config: OptimizerConfig, frozen: Sequence[str]) -> None:
    """Raises TrainError(E-TRAIN-004) for an unknown part, when nothing is left to learn, and when Muon is clipped."""
    for name in (*frozen, *config.rates):
        if name not in PARTS:
            near = get_close_matches(name, PARTS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise TrainError(Code.TRAIN_FAILED, f"the network has no part {name!r}", f"{hint}parts: {', '.join(PARTS)}")
    if set(PARTS) <= set(frozen):
        raise TrainError(Code.TRAIN_FAILED, "every part is frozen", "take one out of the stage's `frozen`")
    if config.kind == "muon" and config.clip:
        raise TrainError(Code.TRAIN_FAILED, "Muon's updates are not to be clipped", "set the optimizer's clip to 0")
