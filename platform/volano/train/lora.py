"""Low-rank adapters on the backbone's language layers: fine-tuning that trains a hundredth of them (by peft).

While a run trains, the adapters stand beside weights that do not move; `merge` folds them in, so that an exported
policy is a plain one and nothing that serves it knows of adapters.
"""

from typing import Any

import torch
from peft import LoraConfig as PeftConfig
from peft import inject_adapter_in_model
from peft.tuners.lora import LoraLayer

from volano.model.policy import Policy
from volano.train.config import LoraConfig

_MATRICES = (
    "q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj"  # softmax attention and feed-forward layers
    "|in_proj_qkv|in_proj_z|out_proj"  # gated linear attention
)
_ADAPTER = "lora_"


def adapt(policy: Policy, config: LoraConfig) -> None:
    """Put adapters, which change nothing yet, beside every matrix of the language layers."""
    targets = rf".*language_model\.layers\.\d+\..*\.({_MATRICES})"
    wanted = PeftConfig(r=config.rank, lora_alpha=config.alpha, target_modules=targets, lora_dropout=0.0)
    inject_adapter_in_model(wanted, policy.backbone.network)


def is_adapted(policy: Policy) -> bool:
    """Whether adapters stand beside weights."""
    return any(_ADAPTER in name for name, _ in policy.backbone.named_parameters())


def is_adapter(name: str) -> bool:
    """Whether a parameter of that name belongs to an adapter."""
    return _ADAPTER in name


@torch.no_grad()
def merge(policy: Policy) -> None:
    """Fold the adapters into the weights beside them; a policy without adapters stays as it is."""
    network: Any = policy.backbone.network
    for name, module in list(network.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, own = name.rpartition(".")
            setattr(network.get_submodule(parent), own, module.get_base_layer())
