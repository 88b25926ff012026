"""The demonstration's network behind a door, with weights as they were drawn."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.served import MOST, POLICY, open_door
from jobs.recipes.nano import model as nano_model
from serving.door import Door
from serving.work import answer, read
from volano.data.normalize import Quantiles
from volano.embodiment.shipped import SAWYER
from volano.inference.session import IDENTITY, PROMPT, STATE, image_key
from volano.model.actions import ActionCodec
from volano.model.policy import Policy
from volano.model.prompt import train_tokenizer


def sawyer_observation() -> dict[str, Any]:
    """What the nano policy's arm sends."""
    pictures = {image_key(one.name): np.zeros((one.height, one.width, 3), np.uint8) for one in SAWYER.cameras}
    state = np.array([(channel.low + channel.high) / 2 for channel in SAWYER.state], np.float32)
    return {**pictures, STATE: state, PROMPT: "open the door"}


def nano_policy() -> Policy:
    """The demonstration's network for one arm, on one thread; what its weights say costs nothing."""
    torch.set_num_threads(1)
    config = nano_model()
    codec = ActionCodec(
        embodiment=SAWYER,
        action=Quantiles(q01=(-1.0,) * len(SAWYER.action), q99=(1.0,) * len(SAWYER.action)),
        state=Quantiles(q01=(-1.0,) * len(SAWYER.state), q99=(1.0,) * len(SAWYER.state)),
        horizon=config.horizon,
        channels=config.channels,
        state_channels=config.state_channels,
        path_frame=config.path_frame,
    )
    tokenizer = train_tokenizer([SAWYER], ["open the door"], config.backbone.vocabulary)
    return Policy(config, tokenizer, {SAWYER.tag: codec}).eval()


def replica(folder: Path) -> None:
    """Serve it behind a door, until the process ends."""
    policy = nano_policy()
    answer(policy, [read(SAWYER, {**sawyer_observation(), IDENTITY: {"robot": "", "episode": "", "tick": 0}})])
    door = Door(
        POLICY,
        lambda message: read(SAWYER, message),
        lambda work: answer(policy, work),
        host="127.0.0.1",
        most=MOST,
    )
    open_door(door, folder / "nano_replica")
