"""A policy as files that need no code to load: JSON, a tokenizer and safetensors, nothing else.

`save` writes what `load` needs; signing and verifying the folder is the registry's business and comes before `load`
wherever a policy arrives from outside.
"""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from volano.config import load_json
from volano.data.normalize import Quantiles
from volano.embodiment.contract import Embodiment
from volano.errors import Code, PolicyError
from volano.model.actions import ActionCodec
from volano.model.config import ModelConfig
from volano.model.files import CONFIG, EMBODIMENTS, STATISTICS, TOKENIZER, WEIGHTS
from volano.model.policy import Policy

ARCHITECTURE = "volano.qwen_vla.1"


def save(policy: Policy, folder: Path) -> None:
    """Write configuration, tokenizer, embodiments, statistics and weights into an existing folder."""
    config = {"architecture": ARCHITECTURE, "model": asdict(policy.config)}
    statistics = {tag: {"action": asdict(c.action), "state": asdict(c.state)} for tag, c in policy.codecs.items()}
    robots = {tag: codec.embodiment.to_json() for tag, codec in policy.codecs.items()}
    for name, data in ((CONFIG, config), (STATISTICS, statistics), (EMBODIMENTS, robots)):
        (folder / name).write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")
    (folder / TOKENIZER).write_text(policy.tokenizer.to_str(pretty=False))
    save_file(weights(policy), folder / WEIGHTS)


def weights(policy: Policy) -> dict[str, torch.Tensor]:
    """Every distinct tensor of the network by name; tied tensors appear once, under their first name."""
    kept: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in policy.state_dict().items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            kept[name] = tensor.detach().contiguous()
    return kept


def load_weights(policy: Policy, tensors: dict[str, torch.Tensor]) -> None:
    """Fill a network with exactly its own tensors; raises PolicyError(E-POLICY-001) on any other set or shape."""
    expected = weights(policy)
    wrong = sorted(set(tensors) ^ set(expected)) or sorted(
        name for name, tensor in tensors.items() if tensor.shape != expected[name].shape
    )
    if wrong:
        raise PolicyError(
            Code.POLICY_FORMAT,
            f"the weights do not fit the configuration: {', '.join(wrong[:3])}",
            "load the folder with the configuration it was saved with",
        )
    with torch.no_grad():
        for name, tensor in tensors.items():
            expected[name].copy_(tensor)


def load(folder: Path) -> Policy:
    """Rebuild a policy; raises PolicyError(E-POLICY-001) when a file is missing or does not parse."""
    try:
        policy = _empty(folder)
        load_weights(policy, load_file(folder / WEIGHTS))
    except PolicyError:
        raise
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise PolicyError(
            Code.POLICY_FORMAT, f"{folder.name} is not a policy folder: {error}", "export the policy again"
        ) from error
    return policy.eval()


def _empty(folder: Path) -> Policy:
    config = json.loads((folder / CONFIG).read_text())
    if config["architecture"] != ARCHITECTURE:
        raise ValueError(f"architecture {config['architecture']!r} is not {ARCHITECTURE!r}")
    model = load_json(ModelConfig, config["model"])
    statistics = json.loads((folder / STATISTICS).read_text())
    robots = json.loads((folder / EMBODIMENTS).read_text())
    codecs = {
        tag: ActionCodec(
            embodiment=Embodiment.from_json(robots[tag]),
            action=Quantiles.from_json(statistics[tag]["action"]),
            state=Quantiles.from_json(statistics[tag]["state"]),
            horizon=model.horizon,
            channels=model.channels,
            state_channels=model.state_channels,
        )
        for tag in robots
    }
    return Policy(model, _tokenizer((folder / TOKENIZER).read_text()), codecs)


def _tokenizer(text: str) -> Tokenizer:
    json.loads(text)  # the library raises a bare Exception for what is not JSON
    return Tokenizer.from_str(text)
