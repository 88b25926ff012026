"""Rows and tables of a LeRobot dataset made from one episode; pure, written to disk by `volano.data.lerobot`."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from volano.data.episode import Manifest
from volano.data.lerobot_layout import CAMERA_PREFIX, FILES_PER_CHUNK, frame_schema, own_frame_schema
from volano.data.lerobot_video import Span
from volano.data.spans import Spans
from volano.data.steps import Steps
from volano.embodiment.contract import Embodiment


def frame_table(embodiment: Embodiment, steps: Steps, number: int, position: int, task: int, fps: int) -> pa.Table:
    """Rows of data/*.parquet for episode `number`, which starts at row `position` of the dataset."""
    length = len(steps.frame_index)
    schema = frame_schema(embodiment)
    arrays = {
        "observation.state": _column(steps.state, schema.field("observation.state").type),
        "action": _column(steps.action, schema.field("action").type),
        "timestamp": pa.array((steps.frame_index / fps).astype(np.float32)),
        "frame_index": pa.array(steps.frame_index),
        "episode_index": pa.array(np.full(length, number, np.int64)),
        "index": pa.array(np.arange(position, position + length, dtype=np.int64)),
        "task_index": pa.array(np.full(length, task, np.int64)),
    }
    return pa.Table.from_arrays([arrays[name] for name in schema.names], schema=schema)


def _column(values: NDArray[np.float32], kind: pa.DataType) -> pa.Array:
    flat = pa.array(values.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, kind.list_size) if pa.types.is_fixed_size_list(kind) else flat


def own_frame_table(steps: Steps, number: int) -> pa.Table:
    """Rows of volano/frames/*.parquet for episode `number`."""
    length = len(steps.frame_index)
    columns = [
        np.full(length, number, np.int64),
        steps.frame_index,
        steps.timestamp,
        steps.segment,
        steps.policy,
        steps.request,
        steps.executed,
    ]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=own_frame_schema())


def episode_row(
    manifest: Manifest, number: int, position: int, part: int, file: int, spans: dict[str, Span], fps: int
) -> dict[str, Any]:
    """Row of meta/episodes/*.parquet, of the file `part`; `file` holds its frames, `spans` its videos by camera."""
    row = {
        "episode_index": number,
        "tasks": [manifest.instruction],
        "length": manifest.frames,
        "dataset_from_index": position,
        "dataset_to_index": position + manifest.frames,
        "data/chunk_index": file // FILES_PER_CHUNK,
        "data/file_index": file % FILES_PER_CHUNK,
        "meta/episodes/chunk_index": part // FILES_PER_CHUNK,
        "meta/episodes/file_index": part % FILES_PER_CHUNK,
    }
    for name, span in spans.items():
        prefix = f"videos/{CAMERA_PREFIX}{name}"
        row[f"{prefix}/chunk_index"] = span.file // FILES_PER_CHUNK
        row[f"{prefix}/file_index"] = span.file % FILES_PER_CHUNK
        row[f"{prefix}/from_timestamp"] = span.start / fps
        row[f"{prefix}/to_timestamp"] = (span.start + manifest.frames) / fps
    return row


def own_episode_row(manifest: Manifest, weight: float, skipped: Spans, number: int) -> dict[str, Any]:
    """Row of volano/episodes.parquet."""
    return {
        "episode_index": number,
        "content_id": manifest.content_id,
        "weight": weight,
        "success": manifest.outcome.success,
        "autonomous": manifest.outcome.autonomous,
        "outcome_source": manifest.outcome.source,
        "segments": [asdict(segment) for segment in manifest.segments],
        "skipped": [{"start": start, "end": end} for start, end in skipped],
        "policies": list(manifest.policies),
        **{name: getattr(manifest, name) for name in ("robot", "attempt", "task", "rollout", "arm", "started_at")},
    }
