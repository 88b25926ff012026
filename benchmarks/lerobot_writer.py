"""Saves episodes with stock LeRobot, in LeRobot's own environment, and prints what each took as one line of JSON.

Not a benchmark: `lerobot_peer` runs it. Imports nothing of Volano. Statistics, and joining its files, are its own; of a
frame that it dropped nothing is told but that.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

# The package's compiled part does not load beside a CPU torch; torch.library has no types.
operators = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    operators.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import av  # noqa: E402
from lerobot.datasets import lerobot_dataset, video_utils  # noqa: E402


def cpu_seconds() -> float:
    """Of this process and its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def created(root: Path, fps: int, shapes: dict[str, tuple[int, ...]], codec: dict[str, str]) -> Any:
    """A new dataset, which encodes while frames come, in one thread for each camera, with these settings of H.264 in
    place of its own, and with room for all frames, since it drops those that find none."""
    video_utils._get_codec_options = lambda *_some, **_named: dict(codec)
    return lerobot_dataset.LeRobotDataset.create(
        "volano/peer",
        fps=fps,
        features=features(shapes),
        root=root,
        vcodec="h264",
        streaming_encoding=True,
        encoder_queue_maxsize=1_000_000,
        encoder_threads=1,
    )


def features(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """What the dataset holds."""
    found: dict[str, Any] = {}
    for name, shape in shapes.items():
        if len(shape) == 1:
            key = "observation.state" if name == "state" else name
            found[key] = {"dtype": "float32", "shape": shape, "names": [f"{name}{n}" for n in range(shape[0])]}
        else:
            key = f"observation.images.{name}"
            found[key] = {"dtype": "video", "shape": shape, "names": ["height", "width", "channels"]}
    return found


def save(dataset: Any, arrays: dict[str, Any]) -> None:
    """One episode."""
    for tick in range(len(arrays["state"])):
        frame = {f"observation.images.{name}": array[tick] for name, array in arrays.items() if array.ndim == 4}
        frame |= {"observation.state": arrays["state"][tick], "action": arrays["action"][tick], "task": "go"}
        dataset.add_frame(frame)
    dataset.save_episode()


def count(video: Path) -> int:
    """Frames in a file."""
    with av.open(str(video)) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


def main() -> None:
    """Read the frames of each episode, save them, tell."""
    folder, fps, codec = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    files, spent = sorted(folder.glob("*.npz")), []
    with np.load(files[0]) as first:
        dataset = created(folder / "dataset", fps, {name: first[name].shape[1:] for name in first.files}, codec)
    for path in files:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        wall, cpu = time.perf_counter(), cpu_seconds()
        save(dataset, arrays)
        spent.append({"cpu": cpu_seconds() - cpu, "wall": time.perf_counter() - wall})
    dataset.finalize()
    frames = sum(len(np.load(path)["state"]) for path in files)
    encoded = sum(count(path) for path in (folder / "dataset" / "videos").rglob("*.mp4"))
    cameras = len(dataset.meta.video_keys)
    if encoded != frames * cameras:
        sys.exit(f"it dropped {frames * cameras - encoded} of {frames * cameras} frames")
    sys.stdout.write("\n" + json.dumps(spent) + "\n")


if __name__ == "__main__":
    main()
