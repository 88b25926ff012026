"""A peer's reader over a LeRobot dataset, in the peer's own environment: says what batches of samples cost it.

Not a benchmark: `benchmarks.reader_peers` runs it. Imports nothing of Volano. For each line on its input, a number of
samples, it brings as many, looks at the stamp in every picture, and answers with its CPU-seconds and how many pictures
showed something else. `python reader_worker.py lerobot|stream|lance FOLDER BATCH`.
"""

import json
import resource
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

# The package's compiled part does not load beside a CPU torch; torch.library has no types.
operators = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    operators.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

_HORIZON, _BLOCK, _ROWS, _COLUMNS, _MOST_TICKS = 50, 16, 6, 4, 1 << 12
_BITS = 1 << np.arange(_ROWS * _COLUMNS)


def lerobot(folder: Path, chunk: dict[str, list[float]]) -> Any:
    """Its dataset for local files, decoded by torchcodec."""
    from lerobot.datasets import lerobot_dataset, video_utils

    if video_utils.get_safe_default_codec() != "torchcodec":
        sys.exit("torchcodec does not load")
    return lerobot_dataset.LeRobotDataset(
        "volano/peer", root=folder, video_backend="torchcodec", delta_timestamps=chunk
    )


def stream(folder: Path, chunk: dict[str, list[float]]) -> Any:
    """Its dataset for streams, of a local folder, with the buffer that its documentation shows."""
    from lerobot.datasets.streaming_dataset import StreamingLeRobotDataset

    return StreamingLeRobotDataset("volano/peer", root=folder, delta_timestamps=chunk, buffer_size=1000)


def lance(folder: Path, chunk: dict[str, list[float]]) -> Any:
    """Lance's dataset, of the same files; it is converted first."""
    _as_later_lerobot()
    from lerobot_lancedb.convert import convert
    from lerobot_lancedb.reader import LanceDBDataset

    place = folder.with_name(f"{folder.name}-lance")
    if not place.exists():
        convert(place, root=folder)
    return LanceDBDataset(root=place, delta_timestamps=chunk, return_uint8=True)


def _as_later_lerobot() -> None:
    """Give Lance's reader what it imports from the LeRobot that it asks for, where that has moved since; of depth
    cameras, which there are none of, the names alone."""
    from lerobot.datasets import lerobot_dataset, utils
    from lerobot.utils import import_utils

    metadata = lerobot_dataset.LeRobotDatasetMetadata
    metadata.depth_keys = property(lambda _self: [])
    import_utils.require_package = lambda *_some, **_named: None
    places: dict[str, dict[str, Any]] = {
        "lerobot.configs.video": {"DEFAULT_DEPTH_UNIT": "mm", "DepthEncoderConfig": None},
        "lerobot.datasets.dataset_metadata": {"LeRobotDatasetMetadata": metadata},
        "lerobot.datasets.depth_utils": {"dequantize_depth": None},
        "lerobot.datasets.language": {"LANGUAGE_COLUMNS": frozenset()},
        "lerobot.datasets.feature_utils": {
            name: getattr(utils, name) for name in ("check_delta_timestamps", "get_delta_indices")
        },
    }
    for name, members in places.items():
        module = types.ModuleType(name)
        for member, value in members.items():
            setattr(module, member, value)
        sys.modules[name] = module


def batches(dataset: Any, size: int) -> Iterator[dict[str, Any]]:
    """Shuffled batches without end, in this process: another one would cost more for a sample."""
    while True:
        shuffle = None if isinstance(dataset, torch.utils.data.IterableDataset) else True
        yield from torch.utils.data.DataLoader(dataset, batch_size=size, shuffle=shuffle, num_workers=0, drop_last=True)


def wrong(batch: dict[str, Any]) -> int:
    """Pictures that are not those of their episode and tick, and chunks without their mask."""
    half, found = _BLOCK // 2, 0
    state, action = batch["observation.state"].numpy(), batch["action"]
    if tuple(action.shape[1:2]) != (_HORIZON,) or tuple(batch["action_is_pad"].shape[1:]) != (_HORIZON,):
        sys.exit(f"a chunk is {tuple(action.shape)}")
    for name, pictures in batch.items():
        if not name.startswith("observation.images.") or name.endswith("_is_pad"):
            continue
        seen = pictures[:, 0, half : _ROWS * _BLOCK : _BLOCK, half : _COLUMNS * _BLOCK : _BLOCK]
        bright = seen.numpy() > (128 if seen.dtype == torch.uint8 else 128 / 255)
        stamps = (bright.reshape(len(bright), -1) * _BITS).sum(axis=1)
        found += int((stamps != state[:, 0].astype(np.int64) * _MOST_TICKS + state[:, 1].astype(np.int64)).sum())
    return found


def cpu_seconds() -> float:
    """Of this process, all of its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Open, warm up with one batch, then answer."""
    kind, folder, size = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    rate = json.loads((folder / "meta" / "info.json").read_text())["fps"]
    chunk = {"action": [ahead / rate for ahead in range(_HORIZON)]}
    found = batches({"lerobot": lerobot, "stream": stream, "lance": lance}[kind](folder, chunk), size)
    next(found)
    sys.stdout.write("\n>{}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        before, samples, other = cpu_seconds(), 0, 0
        while samples < int(line):
            other += wrong(next(found))
            samples += size
        answer = {"seconds": cpu_seconds() - before, "samples": samples, "wrong": other}
        sys.stdout.write(f"\n>{json.dumps(answer)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
