"""Opens an export with GR00T's own episode loader and prints what it sees as one line of JSON.

Not a test: `test_exports.py` runs it, with the export and the file of modalities. Imports nothing of Volano.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

# The package's compiled part does not load beside a CPU torch; torch.library has no types.
operators = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    operators.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from gr00t.configs.data.embodiment_configs import MODALITY_CONFIGS  # noqa: E402
from gr00t.data.dataset.lerobot_episode_loader import LeRobotEpisodeLoader  # noqa: E402
from gr00t.data.stats import calculate_dataset_statistics, generate_stats  # noqa: E402

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
    """Read every episode with every key of the modality map, and its statistics."""
    root, modalities = Path(sys.argv[1]), Path(sys.argv[2])
    written = (root / "meta" / "stats.json").read_bytes()
    sys.path.append(str(modalities.parent))  # as its launcher does
    importlib.import_module(modalities.stem)
    configs = MODALITY_CONFIGS["new_embodiment"]
    keys = {part: config.modality_keys for part, config in configs.items()}
    generate_stats(root)
    loader = LeRobotEpisodeLoader(root, configs, video_backend="decord")
    episodes = []
    for number in range(len(loader)):
        table = loader[number]
        parts = {
            part: np.concatenate([np.stack(table[f"{part}.{key}"]) for key in keys[part]], axis=1).tolist()
            for part in ("state", "action")
        }
        numbers = {camera: [number_in(image) for image in table[f"video.{camera}"]] for camera in keys["video"]}
        episodes.append({**parts, "numbers": numbers, "texts": table[f"language.{_TEXT}"].tolist()})
    columns = ["observation.state", "action", "timestamp"]
    theirs = calculate_dataset_statistics(sorted(root.glob("data/*/*.parquet")), columns)
    seen = {
        "episodes": episodes,
        "lengths": loader.episode_lengths,
        "horizon": len(configs["action"].delta_indices),
        "kept": (root / "meta" / "stats.json").read_bytes() == written,
        "theirs": theirs,
        "by_key": loader.get_dataset_statistics(),
    }
    sys.stdout.write("\n" + json.dumps(seen) + "\n")


if __name__ == "__main__":
    main()
