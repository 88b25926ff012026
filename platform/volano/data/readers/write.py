"""Writes a foreign episode as an ordinary bundle, which then is uploaded and judged like any robot's.

As in a recording, the manifest comes last, after everything else is on the disk; a folder without one is torn and is
replaced. The same source and mapping give the same bytes. Every tick is a demonstration: segment `intervention`,
executed by an `expert`, no policy.
"""

import json
import shutil
from collections.abc import Iterator
from collections.abc import Mapping as MappingType
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from volano.data.bundle import MANIFEST_FILE
from volano.data.episode import SCHEMA, STEPS_FILE, FileEntry, Manifest, Outcome, Segment, video_file
from volano.data.readers import footage
from volano.data.readers.foreign import ForeignEpisode, ForeignImages, ImageArray, Rows, require
from volano.data.readers.mapping import ChannelOf, Mapping, SuccessOf
from volano.data.readers.plan import CameraPlan, EpisodePlan, column_of
from volano.data.readers.units import factor
from volano.data.steps import steps_schema
from volano.data.video import VideoWriter
from volano.embodiment.contract import Camera, Channel, Embodiment
from volano.errors import Code
from volano.storage.content import sha256_file
from volano.storage.files import replace_file, sync_file, sync_folder


def write(
    bundle: Path,
    episode: ForeignEpisode,
    plan: EpisodePlan,
    mapping: Mapping,
    embodiment: Embodiment,
    robot: str,
    *,
    durable: bool = True,
) -> Manifest:
    """Write the bundle, named for its attempt; raises DataError and leaves it torn when the source is not what its
    outline said. One that is not `durable` nobody looks for after a power cut: the disk is not waited for."""
    if bundle.exists():
        shutil.rmtree(bundle)
    bundle.mkdir(parents=True)
    rows = episode.load(mapping.fields)
    _write_steps(bundle / STEPS_FILE, rows, episode, mapping, embodiment)
    for camera in embodiment.cameras:
        _write_video(bundle / video_file(camera.name), episode, plan.cameras[camera.name], mapping, camera, embodiment)
    manifest = Manifest(
        schema=SCHEMA,
        attempt=bundle.name,
        robot=robot,
        embodiment=embodiment.tag,
        fingerprint=embodiment.fingerprint,
        task=mapping.task,
        instruction=plan.instruction,
        started_at=plan.started_at,
        rate_hz=embodiment.rate_hz,
        frames=plan.frames,
        segments=(Segment(start=0, end=plan.frames, kind="intervention"),),
        outcome=Outcome(success=_success(rows, episode, mapping), autonomous=False, source=mapping.outcome_source),
        policies=(),
        rollout="",
        arm="",
        files={path.name: _entry(path) for path in sorted(bundle.iterdir())},
    )
    Manifest.from_json(json.loads(manifest.to_bytes()))
    if durable:
        _sync(bundle, manifest)
        replace_file(bundle / MANIFEST_FILE, [manifest.to_bytes()])
    else:
        (bundle / MANIFEST_FILE).write_bytes(manifest.to_bytes())
    return manifest


def _sync(bundle: Path, manifest: Manifest) -> None:
    for name in manifest.files:
        sync_file(bundle / name)
    for folder in (bundle, bundle.parent):
        sync_folder(folder)


def arranged(
    rows: Rows, episode: ForeignEpisode, mapped: MappingType[str, ChannelOf], channels: tuple[Channel, ...]
) -> NDArray[np.float32]:
    """The contract's channels, (T, channels), in its order and units. A float32 that needs no conversion stays what it
    was, bit for bit."""
    columns = []
    for channel in channels:
        part = mapped[channel.name]
        values = rows.numbers[part.place.field][:, column_of(part.place, episode)]
        times = factor(part.unit, channel.unit) or 1.0
        if (part.scale, part.offset, times) != (1.0, 0.0, 1.0):
            values = (values.astype(np.float64) * part.scale + part.offset) * times
        with np.errstate(over="ignore"):
            columns.append(values.astype(np.float32))
    return np.ascontiguousarray(np.stack(columns, axis=1))


def _success(rows: Rows, episode: ForeignEpisode, mapping: Mapping) -> bool:
    wanted = mapping.success
    if not isinstance(wanted, SuccessOf):
        return wanted
    values = rows.numbers[wanted.place.field][:, column_of(wanted.place, episode)]
    reached = values.astype(np.float64) >= wanted.at_least
    return bool(reached.any() if wanted.when == "ever" else reached[-1])


def _write_steps(path: Path, rows: Rows, episode: ForeignEpisode, mapping: Mapping, embodiment: Embodiment) -> None:
    count = episode.frames
    lengths = {len(rows.timestamp), *(len(values) for values in rows.numbers.values())}
    require(lengths == {count}, f"its fields have {sorted(lengths)} rows, not {count}", Code.DATA_FRAME_COUNT)
    texts = {"segment": "intervention", "policy": "", "request": "", "executed": "expert"}
    columns = {
        "frame_index": _numbers(np.arange(count, dtype=np.int64), pa.int64()),
        "timestamp": _numbers(rows.timestamp, pa.float64()),
        "state": _vectors(arranged(rows, episode, mapping.state, embodiment.state)),
        "action": _vectors(arranged(rows, episode, mapping.action, embodiment.action)),
        **{name: _repeated(text, count) for name, text in texts.items()},
    }
    schema = steps_schema(len(embodiment.state), len(embodiment.action))
    pq.write_table(pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema), path)


def _vectors(values: NDArray[np.float32]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(_numbers(values.reshape(-1), pa.float32()), values.shape[1])


def _repeated(text: str, count: int) -> pa.StringArray:
    data = text.encode()
    ends = np.arange(count + 1, dtype=np.int32) * len(data)
    return pa.StringArray.from_buffers(count, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(data * count))


def _numbers(values: NDArray[np.generic], kind: pa.DataType) -> pa.Array:
    """An Arrow array over NumPy's memory: `pa.array` would import pandas, where it is installed, for nothing."""
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def _write_video(
    path: Path, episode: ForeignEpisode, plan: CameraPlan, mapping: Mapping, camera: Camera, embodiment: Embodiment
) -> None:
    mapped = mapping.cameras[camera.name]
    foreign = episode.cameras[mapped.field]
    source: Iterator[ImageArray]
    if isinstance(foreign, ForeignImages):
        source = foreign.read()
    else:
        assert plan.cut is not None
        if plan.treatment != "encode":
            footage.copy(foreign, plan.cut, path)
            return
        source = footage.images(foreign, plan.cut)
    with VideoWriter(path, embodiment.rate_hz) as writer:
        for image in source:
            require(writer.frames < episode.frames, f"{mapped.field} has too many frames", Code.DATA_FRAME_COUNT)
            writer.add(footage.fitted(image, camera, crop=mapped.fit == "crop"))
        require(
            writer.frames == episode.frames,
            f"{mapped.field} has {writer.frames} frames for {episode.frames} rows",
            Code.DATA_FRAME_COUNT,
        )


def _entry(path: Path) -> FileEntry:
    return FileEntry(size=path.stat().st_size, sha256=sha256_file(path))
