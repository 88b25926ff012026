"""Pretrained weights and their tokenizer, from a local folder or a hub: safetensors and JSON only, no code of theirs.

The numbers of what is loaded must be those of the recipe: plans, costs and exported policies are made from these.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedConfig, PreTrainedModel

from volano.errors import Code, PolicyError
from volano.model.config import BackboneConfig
from volano.model.families import FAMILIES
from volano.model.prompt import special_tokens


def load_network(config: BackboneConfig, numbers: PreTrainedConfig) -> PreTrainedModel:
    """The network with the weights that `config.pretrained` names, in fp32. Raises PolicyError(E-POLICY-001) when they
    cannot be had or belong to another network than `numbers`."""
    family, source = FAMILIES[config.family], config.pretrained
    try:
        stated, _ = PreTrainedConfig.get_config_dict(source)
        check_numbers(source, numbers.to_dict(), stated)
        return family.network.from_pretrained(source, config=numbers, dtype="float32", use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise _refused(source, str(error).splitlines()[0]) from error


def load_tokenizer(source: str, cameras: Iterable[str]) -> Tokenizer:
    """The tokenizer beside pretrained weights, with the view tokens of these cameras as entries of their own. Raises
    PolicyError(E-POLICY-001) when there is none."""
    path = Path(source) / "tokenizer.json"
    try:
        found = Tokenizer.from_file(str(path)) if Path(source).is_dir() else Tokenizer.from_pretrained(source)
    except Exception as error:  # the library raises nothing more special
        raise _refused(source, f"no tokenizer: {error}") from error
    found.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special_tokens(cameras)])
    return found


def check_numbers(source: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Raise PolicyError(E-POLICY-001) for the first number of `theirs`, as its file states it, that is not `ours`."""
    for part in ("text_config", "vision_config"):
        for name, value in theirs.get(part, {}).items():
            mine = ours[part].get(name, value)
            if type(value) in (int, float, bool) and name in ours[part] and mine != value and name not in _FREE:
                raise _refused(source, f"{part}.{name} is {value!r} there and {mine!r} in the recipe")


_FREE = {"initializer_range", "max_position_embeddings", "use_cache", "attention_dropout"} | {
    f"{name}_token_id" for name in ("bos", "eos", "pad", "image", "video", "vision_start", "vision_end")
}
"""What may differ: it shapes no weight."""


def _refused(source: str, cause: str) -> PolicyError:
    return PolicyError(
        Code.POLICY_FORMAT,
        f"{source!r} is no backbone of this recipe: {cause}",
        "name a folder or hub identifier of the recipe's backbone in model.backbone.pretrained",
    )
