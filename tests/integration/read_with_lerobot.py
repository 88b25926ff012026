"""Opens a dataset with stock LeRobot, in LeRobot's own environment, and prints what it sees as one line of JSON.

Not a test: `test_lerobot.py` runs it. Imports nothing of Volano, so that only LeRobot reads the files.
"""

import json
import sys

import torch

# The package's compiled part does not load beside a CPU torch; torch.library has no types.
operators = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    operators.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: E402

_CAMERAS = ("observation.images.ego", "observation.images.rear")


def number_in(image: torch.Tensor) -> int:
    """The number drawn into an image (3, H, W) in 0..1, as blocks of 16 x 16 pixels."""
    total = 0
    for bit in range(12):
        row, column = divmod(bit, 4)
        block = image[:, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
        total += int(block.mean().item() > 0.5) << bit
    return total


def main() -> None:
    """Read every frame and a chunk of future actions."""
    dataset = LeRobotDataset("volano/test", root=sys.argv[1], video_backend="pyav")
    chunked = LeRobotDataset(
        "volano/test", root=sys.argv[1], video_backend="pyav", delta_timestamps={"action": [0.0, 0.1, 0.2]}
    )
    frames = []
    for index in range(len(dataset)):
        item = dataset[index]
        frames.append(
            {
                "episode": int(item["episode_index"]),
                "frame": int(item["frame_index"]),
                "task": item["task"],
                "state": item["observation.state"].tolist(),
                "action": item["action"].tolist(),
                "numbers": [number_in(item[camera]) for camera in _CAMERAS],
                "chunk": chunked[index]["action"].tolist(),
            }
        )
    seen = {
        "frames": frames,
        "episodes": dataset.num_episodes,
        "fps": dataset.fps,
        "robot": dataset.meta.robot_type,
        "action_std": dataset.meta.stats["action"]["std"].tolist(),
        "image_mean_shape": list(dataset.meta.stats[_CAMERAS[0]]["mean"].shape),
    }
    sys.stdout.write("\n" + json.dumps(seen) + "\n")


if __name__ == "__main__":
    main()
