"""Recipes by name: each is a function that returns one complete run configuration."""

from difflib import get_close_matches

from jobs.recipes.lab import qwen_vla_4b
from jobs.recipes.nano import nano, nano_finetune, nano_stages, nano_t2a
from volano.errors import Code, ConfigError
from volano.train.config import RunConfig

RECIPES = {
    "nano": nano,
    "nano_finetune": nano_finetune,
    "nano_stages": nano_stages,
    "nano_t2a": nano_t2a,
    "qwen_vla_4b": qwen_vla_4b,
}


def recipe(name: str) -> RunConfig:
    """The configuration of a recipe; raises ConfigError(E-CONFIG-001) for an unknown name."""
    if name not in RECIPES:
        near = get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(Code.CONFIG_RECIPE, f"no recipe {name!r}", f"{hint}recipes: {', '.join(sorted(RECIPES))}")
    return RECIPES[name]()
