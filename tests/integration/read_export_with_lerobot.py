"""Opens an export with stock LeRobot of format v2.1 as openpi does, and prints what it sees as one line of JSON.

Not a test: `test_exports.py` runs it, with the export and the action horizon, and `openpi` where openpi's sources are.
Imports nothing of Volano. openpi's own class counts the chunks for its statistics, and its own loader reads ours.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

# The package's compiled part does not load beside a CPU torch; torch.library has no types.
operators = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    operators.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata  # noqa: E402


def number_in(image: torch.Tensor) -> int:
    """The number drawn into an image (3, H, W) in 0..1, as blocks of 16 x 16 pixels."""
    total = 0
    for bit in range(12):
        row, column = divmod(bit, 4)
        block = image[:, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
        total += int(block.mean().item() > 0.5) << bit
    return total


def main() -> None:
    """Read every frame with the chunk of actions that begins at it."""
    root, horizon, *more = sys.argv[1:]
    meta = LeRobotDatasetMetadata("volano/test", root=root)
    ahead = [step / meta.fps for step in range(int(horizon))]
    dataset = LeRobotDataset("volano/test", root=root, video_backend="pyav", delta_timestamps={"action": ahead})
    items = [dataset[index] for index in range(len(dataset))]
    frames = [
        {
            "episode": int(item["episode_index"]),
            "text": item["task"],
            "state": item["observation.state"].tolist(),
            "chunk": item["action"].tolist(),
            "numbers": {camera.split(".")[-1]: number_in(item[camera]) for camera in meta.video_keys},
        }
        for item in items
    ]
    seen = {
        "frames": frames,
        "fps": meta.fps,
        "robot": meta.robot_type,
        "std": meta.stats["action"]["std"].tolist(),
        "image_mean_shape": list(meta.stats[meta.video_keys[0]]["mean"].shape),
        "openpi": counted(Path(root), items) if more == ["openpi"] else {},
    }
    sys.stdout.write("\n" + json.dumps(seen) + "\n")


def counted(root: Path, items: list[dict[str, torch.Tensor]]) -> dict[str, object]:
    """Our norm_stats.json as openpi loads it, and what openpi counts."""
    import openpi.shared.normalize as normalize

    keys = {"state": "observation.state", "actions": "action"}
    counts = {name: normalize.RunningStats() for name in keys}
    for name, key in keys.items():
        counts[name].update(np.stack([item[key].numpy() for item in items]))
    loaded, theirs = normalize.load(root), {name: count.get_statistics() for name, count in counts.items()}
    return {
        who: {
            name: {part: np.asarray(getattr(one, part)).tolist() for part in ("mean", "std", "q01", "q99")}
            for name, one in stats.items()
        }
        for who, stats in (("ours", loaded), ("theirs", theirs))
    }


if __name__ == "__main__":
    main()
