"""What a training run would need, as JSON: `python -m jobs.plan RECIPE --gpus N [--gpu-memory-gb GB] [key=value ...]`.

A key that begins with `assume.` changes an assumption, every other one the recipe.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from jobs.model import tables
from jobs.recipes import recipe
from volano.config import apply
from volano.ending import coded_ending
from volano.model.count import Part
from volano.train.config import RunConfig
from volano.train.plan import Assumptions, Option, StagePlan, Weights, plan

_LOG = logging.getLogger(__name__)
_ASSUME = "assume."


def weights(run: RunConfig) -> Weights:
    """How many weights a recipe's network has."""
    parts: dict[str, list[Part]] = tables(run.model)
    backbone = {part.name: part for part in parts["backbone"]}
    language = backbone["language layers"]
    return Weights(
        expert=sum(part.total for part in parts["expert"]),
        backbone=sum(part.total for part in parts["backbone"]),
        language_matrices=language.matrices,
        vision=backbone["vision"].total,
        embeddings=sum(backbone[name].total for name in ("word embedding", "head") if name in backbone),
        adapters=round(2 * run.lora.rank / run.model.backbone.width * language.matrices),
    )


def document(name: str, overrides: Sequence[str], *, gpus: int, gpu_memory_gb: float) -> dict[str, Any]:
    """The plan of a recipe; raises ConfigError and TrainError."""
    run = apply(recipe(name), [item for item in overrides if not item.startswith(_ASSUME)])
    changes = [item.removeprefix(_ASSUME) for item in overrides if item.startswith(_ASSUME)]
    assumed = apply(Assumptions(), changes)
    counted = weights(run)
    stages = plan(run, counted, assumed, gpus=gpus, gpu_memory_gb=gpu_memory_gb)
    return {
        "recipe": name,
        "gpus": gpus,
        "gpu_memory_gb": gpu_memory_gb,
        "weights": asdict(counted),
        "assumptions": asdict(assumed),
        "stages": [_stage(stage) for stage in stages],
    }


def _stage(stage: StagePlan) -> dict[str, Any]:
    return asdict(stage) | {
        "options": [_option(option, stage.share) for option in stage.options],
        "chosen": _option(stage.chosen, stage.chosen.micro_batch),
        "configured": _option(stage.configured, -(-stage.share // stage.passes)),
        "cannot": list(stage.cannot),
    }


def _option(option: Option, samples: int) -> dict[str, Any]:
    return asdict(option) | {"bytes": option.memory(samples), "bytes_with_one_sample": option.memory(1)}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m jobs.plan", description="What a training run would need."
    )
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--gpu-memory-gb", type=float, default=80.0)
    options = parser.parse_intermixed_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with coded_ending(_LOG):
        found = document(options.recipe, options.overrides, gpus=options.gpus, gpu_memory_gb=options.gpu_memory_gb)
    sys.stdout.write(json.dumps(found, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
