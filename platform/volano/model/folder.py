"""A policy as files that need no code to load: JSON, a tokenizer and safetensors, nothing else.

`save` writes what `load` needs; signing and verifying the folder is the registry's business and comes before `load`
wherever a policy arrives from outside.
"""

import json
from dataclasses import asdict, replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from volano.config import load_json
from volano.data.normalize import Quantiles
from volano.embodiment.contract import Embodiment
from volano.errors import Code, PolicyError
from volano.model.actions import ActionCodec
from volano.model.config import ModelConfig
from volano.model.files import CONFIG, EMBODIMENTS, STATISTICS, TEXT_ONLY, TOKENIZER, WEIGHTS
from volano.model.policy import Policy

ARCHITECTURE = "volano.qwen_vla.1"
_MAX_LAYERS, _MAX_SIDE, _MAX_NUMBER = 1024, 4096, 1 << 20
"""Far beyond any sensible network; a file that names more is not believed."""
_LEAST = {"hidden_layer": -1, "mlp_width": 0}
"""Numbers of a part that may be below 1."""


def save(policy: Policy, folder: Path) -> None:
    """Write configuration, tokenizer, embodiments, statistics and weights into an existing folder."""
    whole = replace(policy.config, backbone=replace(policy.config.backbone, pretrained=""))
    config = {"architecture": ARCHITECTURE, "model": asdict(whole)}
    statistics = {tag: {"action": asdict(c.action), "state": asdict(c.state)} for tag, c in policy.codecs.items()}
    robots = {tag: codec.embodiment.to_json() for tag, codec in policy.codecs.items()}
    for name, data in ((CONFIG, config), (STATISTICS, statistics), (EMBODIMENTS, robots)):
        _write(folder / name, data)
    if policy.text_codecs:
        _write(folder / TEXT_ONLY, {tag: _codec_json(codec) for tag, codec in policy.text_codecs.items()})
    (folder / TOKENIZER).write_text(policy.tokenizer.to_str(pretty=False))
    save_file(weights(policy), folder / WEIGHTS)


def _write(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")


def _codec_json(codec: ActionCodec) -> dict[str, object]:
    return {
        "embodiment": codec.embodiment.to_json(),
        "action": asdict(codec.action),
        "state": asdict(codec.state),
    }


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
    """Rebuild a policy; raises PolicyError(E-POLICY-001) when a file is missing, does not parse, or names a network
    that its weights are no match for, before memory is taken for it."""
    try:
        policy = _empty(folder)
        load_weights(policy, load_file(folder / WEIGHTS))
    except PolicyError:
        raise
    except (OSError, KeyError, TypeError, ValueError, ArithmeticError, RuntimeError, SafetensorError) as error:
        raise PolicyError(
            Code.POLICY_FORMAT, f"{folder.name} is not a policy folder: {error}", "export the policy again"
        ) from error
    return policy.eval()


def _empty(folder: Path) -> Policy:
    config = json.loads((folder / CONFIG).read_text())
    if config["architecture"] != ARCHITECTURE:
        raise ValueError(f"architecture {config['architecture']!r} is not {ARCHITECTURE!r}")
    model = load_json(ModelConfig, config["model"])
    _check_numbers(model)
    statistics = json.loads((folder / STATISTICS).read_text())
    robots = json.loads((folder / EMBODIMENTS).read_text())
    codecs = {tag: _codec({**statistics[tag], "embodiment": robots[tag]}, model) for tag in robots}
    text_codecs = {}
    if (folder / TEXT_ONLY).exists():
        text_only = json.loads((folder / TEXT_ONLY).read_text())
        text_codecs = {tag: _codec(data, model) for tag, data in text_only.items()}
    tokenizer = _tokenizer((folder / TOKENIZER).read_text())
    if model.backbone.pretrained:
        raise ValueError(f"{CONFIG} names weights elsewhere, {model.backbone.pretrained!r}: a policy is whole")
    _check_weights(model, tokenizer, codecs, folder / WEIGHTS)
    return Policy(model, tokenizer, codecs, text_codecs)


def _codec(data: dict[str, Any], model: ModelConfig) -> ActionCodec:
    return ActionCodec(
        embodiment=Embodiment.from_json(data["embodiment"]),
        action=Quantiles.from_json(data["action"]),
        state=Quantiles.from_json(data["state"]),
        horizon=model.horizon,
        channels=model.channels,
        state_channels=model.state_channels,
        path_frame=model.path_frame,
    )


def _check_numbers(model: ModelConfig) -> None:
    layers = (model.backbone.layers, model.backbone.vision.depth, model.expert.blocks, model.flow.integration_steps)
    sides = (model.horizon, model.channels, model.state_channels)
    if not all(1 <= number <= _MAX_LAYERS for number in layers) or not all(1 <= side <= _MAX_SIDE for side in sides):
        raise ValueError(f"{CONFIG} names a network of {layers} layers or steps, and actions of {sides}")
    for part in (model.backbone, model.backbone.vision, model.expert):
        for name, number in vars(part).items():
            if type(number) is int and not _LEAST.get(name, 1) <= number <= _MAX_NUMBER:
                raise ValueError(f"{CONFIG} says {name} = {number}")


def _check_weights(model: ModelConfig, tokenizer: Tokenizer, codecs: dict[str, ActionCodec], path: Path) -> None:
    """Compare sizes on a device that holds no numbers."""
    with torch.device("meta"):
        skeleton = Policy(model, tokenizer, codecs)
    needed = sum(parameter.numel() for parameter in skeleton.parameters())
    with safe_open(path, "pt") as file:
        held = sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    if needed > held:
        raise ValueError(f"{CONFIG} names a network of {needed} weights, and {WEIGHTS} holds {held}")


def _tokenizer(text: str) -> Tokenizer:
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing more special
        raise ValueError(f"{TOKENIZER} holds no tokenizer: {error}") from error
