"""Refuses a training that its workers' memory cannot hold, before any of them starts.

Relies on what Ray says of its nodes. A network is counted exactly only where a bound says that it might not fit: to
count imports torch, which takes ten seconds that most runs need not wait.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray

from volano.embodiment.contract import Embodiment
from volano.errors import TrainError
from volano.train.config import RunConfig
from volano.train.memory import Fitting, Room, bound, on_processors
from volano.train.plan import GB, Assumptions

_LOG = logging.getLogger(__name__)
_ACCELERATOR = "accelerator_type:"
_GPU_GB = {"V100": 32, "T4": 16, "A10G": 24, "A10": 24, "L4": 24, "L40S": 48, "A100": 80, "A100-40G": 40}
_GPU_GB |= {"A100-80G": 80, "H100": 80, "H200": 141, "B200": 180}
"""The most that a GPU of each of Ray's accelerator types has, GB of 10^9 bytes."""


def check_memory(run: RunConfig, robots: Mapping[str, Embodiment], workers: int) -> None:
    """Raises TrainError(E-TRAIN-005) where the plan of a stage needs more memory than a worker can have on this
    cluster. A GPU that is not known is left to the worker."""
    uses_gpus = ray.cluster_resources().get("GPU", 0) >= workers
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = gpu_room(nodes) if uses_gpus else host_room(nodes, workers)
    if room is None:
        _LOG.info("whether the run fits is not checked: %s", why_unknown(nodes, 0 if uses_gpus else workers))
        return
    assumed = with_cameras(on_processors(run) if room.is_host else Assumptions(), robots)
    fitting = Fitting(run=run, weights=bound(run.model), assumed=assumed, room=room, workers=workers)
    try:
        fitting.check()
    except TrainError:
        from jobs.plan import weights

        replace(fitting, weights=weights(run)).check()


def with_cameras(assumed: Assumptions, robots: Mapping[str, Embodiment]) -> Assumptions:
    """As many pixels in a sample as the robot that sees least of all with a camera: others need more."""
    seen = [robot.cameras for robot in robots.values() if robot.cameras]
    if not seen:
        return assumed
    cameras = min(seen, key=lambda found: sum(camera.height * camera.width for camera in found))
    return replace(
        assumed, images=len(cameras), image_height=cameras[0].height, image_width=cameras[0].width, prompt_tokens=32
    )


def host_room(nodes: Sequence[Mapping[str, Any]], workers: int) -> Room | None:
    """The most that each of so many workers of one core can have at once; None where the nodes do not say."""
    sizes = [
        (node.get("memory", 0.0) + node.get("object_store_memory", 0.0), int(node.get("CPU", 0))) for node in nodes
    ]
    shares = sorted({size / count for size, cores in sizes for count in range(1, min(cores, workers) + 1) if size})
    for share in reversed(shares):
        if sum(min(int(size / share), cores) for size, cores in sizes) >= workers:
            total = sum(size for size, _ in sizes) / GB
            return Room(gb=share / GB, is_host=True, what=f"{total:.1f} GB on {len(sizes)} nodes without GPUs")
    return None


def room_bytes(workers: int) -> float:
    """The memory of a host that each of so many workers can have on this cluster, in bytes; 0 where it is not known."""
    room = host_room([node["Resources"] for node in ray.nodes() if node["Alive"]], workers)
    return 0.0 if room is None else room.gb * GB


def why_unknown(nodes: Sequence[Mapping[str, Any]], on_cores: int) -> str:
    """Why there is no room to hold a run against; `on_cores`: how many workers need a core each."""
    cores = sum(int(node.get("CPU", 0)) for node in nodes)
    if cores < on_cores:
        return f"the cluster has {cores} cores, and {on_cores} workers need one each"
    return "nothing is known of the memory of the cluster's workers"


def gpu_room(nodes: Sequence[Mapping[str, Any]]) -> Room | None:
    """The memory of the largest GPU of the cluster; None where one is not known."""
    types = {key.removeprefix(_ACCELERATOR) for node in nodes for key in node if key.startswith(_ACCELERATOR)}
    if not types or not types <= _GPU_GB.keys():
        return None
    largest = max(types, key=lambda name: _GPU_GB[name])
    return Room(gb=float(_GPU_GB[largest]), is_host=False, what=f"a GPU {largest}")
