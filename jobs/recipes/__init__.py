"""Recipes by name: each is a function that returns one complete run configuration."""

from difflib import get_close_matches

from jobs.recipes.nano import nano, nano_finetune
from volano.errors import Code, ConfigError
from volano.train.config import RunConfig

RECIPES = {"nano": nano, "nano_finetune": nano_finetune}


def recipe(name: str) -> RunConfig:
    """The configuration of a recipe; raises ConfigError(E-CONFIG-001) for an unknown name."""
    if name not in RECIPES:
        near = get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(Code.CONFIG_RECIPE, f"no recipe {name!r}", f"{hint}recipes: {', '.join(sorted(RECIPES))}")
    return RECIPES[name]()
