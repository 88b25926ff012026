"""A dataset version, decoded once for all trainings of an experiment and read from one file of plain arrays."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from volano.data.version import DatasetVersion, load, materialize
from volano.storage.files import sync_folder
from volano.storage.store import ObjectStore
from volano.train.dataset import demonstrations
from volano.train.feed import Demonstration


def prepare(store: ObjectStore, version_id: str, folder: Path) -> DatasetVersion:
    """Make the file of every embodiment that has none yet. Raises StorageError and DataError like `materialize`."""
    version = load(store, version_id)
    if not all(_path(folder, version_id, tag).exists() for tag in version.embodiments):
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            materialize(store, version_id, Path(scratch))
            for tag, episodes in demonstrations(Path(scratch), version).items():
                part = Path(scratch) / f"{tag}.npz"
                _write(part, episodes)
                part.replace(_path(folder, version_id, tag))
        sync_folder(folder)
    return version


def read(folder: Path, version_id: str, tag: str) -> list[Demonstration]:
    """The episodes of one embodiment."""
    with np.load(_path(folder, version_id, tag), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    said = json.loads(str(arrays["said"]))
    ends = np.cumsum(arrays["lengths"])[:-1]
    cameras = [np.split(arrays[f"camera_{number}"], ends) for number in range(said["cameras"])]
    parts = {name: np.split(arrays[name], ends) for name in ("state", "action", "kinds")}
    return [
        Demonstration(
            instruction=instruction,
            images=tuple(camera[number] for camera in cameras),
            state=parts["state"][number],
            action=parts["action"][number],
            kinds=parts["kinds"][number],
            succeeded=succeeded,
            weight=weight,
        )
        for number, (instruction, succeeded, weight) in enumerate(said["episodes"])
    ]


def _path(folder: Path, version_id: str, tag: str) -> Path:
    return folder / f"{version_id[:16]}-{tag}.npz"


def _write(path: Path, episodes: Sequence[Demonstration]) -> None:
    cameras = len(episodes[0].images)
    said = {"cameras": cameras, "episodes": [[one.instruction, one.succeeded, one.weight] for one in episodes]}
    images = {f"camera_{k}": np.concatenate([one.images[k] for one in episodes]) for k in range(cameras)}
    np.savez(
        path,
        said=np.array(json.dumps(said)),
        lengths=np.array([len(one.action) for one in episodes]),
        state=np.concatenate([one.state for one in episodes]),
        action=np.concatenate([one.action for one in episodes]),
        kinds=np.concatenate([one.kinds for one in episodes]),
        **images,  # type: ignore[arg-type] # the stub takes a keyword of its own for one of them
    )
