"""What a recipe's network is, without building it, as JSON: `python -m jobs.model params RECIPE [key=value ...]`."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence

from jobs.recipes import recipe
from volano.config import apply
from volano.data.normalize import Quantiles
from volano.embodiment.shipped import SHIPPED
from volano.ending import coded_ending
from volano.model.actions import ActionCodec
from volano.model.config import ModelConfig
from volano.model.count import Part, backbone_parts, expert_parts, skeleton

_LOG = logging.getLogger(__name__)


def tables(config: ModelConfig) -> dict[str, list[Part]]:
    """Parts of the expert and of the backbone."""
    policy = skeleton(config, _codecs(config))
    return {"expert": expert_parts(policy), "backbone": backbone_parts(policy)}


def _codecs(config: ModelConfig) -> dict[str, ActionCodec]:
    """Of the shipped robots; statistics have no weights."""
    return {
        tag: ActionCodec(
            embodiment=robot,
            action=Quantiles(q01=(-1.0,) * len(robot.action), q99=(1.0,) * len(robot.action)),
            state=Quantiles(q01=(-1.0,) * len(robot.state), q99=(1.0,) * len(robot.state)),
            horizon=config.horizon,
            channels=config.channels,
            state_channels=config.state_channels,
            path_frame=config.path_frame,
        )
        for tag, robot in SHIPPED.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m jobs.model", description="What a recipe's network is."
    )
    parser.add_argument("what", choices=("params",))
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with coded_ending(_LOG):
        found = tables(apply(recipe(options.recipe), options.overrides).model)
    rows = {
        title: {part.name: {"matrices": part.matrices, "vectors": part.vectors} for part in parts}
        for title, parts in found.items()
    }
    sys.stdout.write(json.dumps({"recipe": options.recipe, **rows}, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
