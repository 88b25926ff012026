"""How many weights a network has, part by part, counted on a device that holds no numbers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from volano.model.actions import ActionCodec
from volano.model.config import ModelConfig
from volano.model.policy import Policy
from volano.model.prompt import train_tokenizer


@dataclass(frozen=True, kw_only=True)
class Part:
    """Weights of one part of a network, without what other parts count."""

    name: str
    matrices: int
    """Numbers in matrices, convolutions and embeddings."""
    vectors: int
    """Numbers in biases, norms and other vectors."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.matrices + self.vectors


def skeleton(config: ModelConfig, codecs: Mapping[str, ActionCodec]) -> Policy:
    """The network on the meta device: names and shapes of every weight, and no memory for them."""
    robots = [codec.embodiment for codec in codecs.values()]
    tokenizer = train_tokenizer(robots, (), min(config.backbone.vocabulary, _WORDS))
    with torch.device("meta"):
        return Policy(config, tokenizer, codecs)


_WORDS = 1000
"""More would not change the network: its embedding has the recipe's rows."""


def expert_parts(policy: Policy) -> list[Part]:
    """The action expert, in the rows of the paper's parameter table."""
    expert = policy.expert
    parts = [
        _part("blocks", expert.blocks),
        _part("action MLPs", expert.action_in, expert.action_out),
        _part("VLM to expert", expert.vlm_in),
        _part("timestep MLP", expert.time_in),
        _part("output modulation", expert.out_modulation),
    ]
    return parts if expert.state_in is None else [*parts, _part("state", expert.state_in)]


def backbone_parts(policy: Policy) -> list[Part]:
    """The backbone: vision, words, language layers, and a head unless it is the words' embedding again."""
    network = policy.backbone.network
    words = network.get_input_embeddings()
    language = _part("language model", network.model.language_model)
    counted = [
        _part("vision", network.model.visual),
        _part("word embedding", words),
        Part(name="language layers", matrices=language.matrices - words.weight.numel(), vectors=language.vectors),
    ]
    head = network.get_output_embeddings()
    return counted if head.weight is words.weight else [*counted, _part("head", head)]


def _part(name: str, *modules: nn.Module) -> Part:
    sizes = [(parameter.ndim, parameter.numel()) for parameter in _distinct(modules)]
    return Part(
        name=name,
        matrices=sum(size for dimensions, size in sizes if dimensions > 1),
        vectors=sum(size for dimensions, size in sizes if dimensions <= 1),
    )


def _distinct(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    return list({id(p): p for module in modules for p in module.parameters()}.values())
