"""Opens an export with starVLA's own dataset class and prints what it sees as one line of JSON.

Not a test: `test_exports.py` runs it, with the export and the action horizon. Imports nothing of Volano. What the class
imports and does not use here (augmentation, rotations, other loaders) is replaced by empty modules.
"""

import json
import sys
import types
from pathlib import Path
from typing import Any

import torch

# The package's compiled part does not load beside a CPU torch; torch.library has no types.
operators = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    operators.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

for name in ("albumentations", "pytorch3d", "pytorch3d.transforms"):
    sys.modules[name] = types.ModuleType(name)
package = types.ModuleType("starVLA.dataloader")
package.__path__ = [str(Path(sys.argv[3]) / "starVLA" / "dataloader")]
sys.modules[package.__name__] = package  # whose own __init__ imports every loader there is

from starVLA.dataloader.gr00t_lerobot.datasets import LeRobotSingleDataset, ModalityConfig  # noqa: E402

_TEXT = "annotation.human.action.task_description"


def number_in(image: Any) -> int:
    """The number drawn into an image (H, W, 3), uint8, as blocks of 16 x 16 pixels."""
    total = 0
    for bit in range(12):
        row, column = divmod(bit, 4)
        block = image[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
        total += int(block.mean() > 128) << bit
    return total


def main() -> None:
    """Read every step with every key of the modality map."""
    root, horizon = Path(sys.argv[1]), int(sys.argv[2])
    written = (root / "meta" / "stats_gr00t.json").read_bytes()
    named = json.loads((root / "meta" / "modality.json").read_text())
    keys = {part: [f"{part}.{key}" for key in named[part]] for part in ("video", "state", "action")}
    configs = {
        "video": ModalityConfig(delta_indices=[0], modality_keys=keys["video"]),
        "state": ModalityConfig(delta_indices=[0], modality_keys=keys["state"]),
        "action": ModalityConfig(delta_indices=list(range(horizon)), modality_keys=keys["action"]),
        "language": ModalityConfig(delta_indices=[0], modality_keys=[_TEXT]),
    }
    dataset = LeRobotSingleDataset(
        root, configs, "new_embodiment", video_backend="decord", data_cfg={"lerobot_version": "v2.0"}
    )
    frames = []
    for episode, tick in dataset.all_steps:
        step = dataset.get_step_data(episode, tick)
        frames.append(
            {
                "episode": int(episode),
                "text": step[_TEXT][0],
                "state": [float(step[key][0, 0]) for key in keys["state"]],
                "chunk": [[float(step[key][row, 0]) for key in keys["action"]] for row in range(horizon)],
                "numbers": {key.split(".")[-1]: number_in(step[key][0]) for key in keys["video"]},
            }
        )
    statistics = {
        part: {key: {name: value.tolist() for name, value in dict(one).items()} for key, one in stats.items()}
        for part, stats in (
            ("state", dataset.metadata.statistics.state),
            ("action", dataset.metadata.statistics.action),
        )
    }
    kept = (root / "meta" / "stats_gr00t.json").read_bytes() == written
    sys.stdout.write("\n" + json.dumps({"frames": frames, "kept": kept, "statistics": statistics}) + "\n")


if __name__ == "__main__":
    main()
