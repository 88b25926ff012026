"""One generator per defect that a robot may upload: each writes a bundle and returns its manifest."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.unit.data.bundles import (
    Draft,
    claims_with,
    columns,
    draw,
    encode,
    manifest_of,
    write_bundle,
    write_steps,
)
from tests.unit.data.sensor_defects import SENSOR_DEFECTS, Defect
from volano.data.episode import STEPS_FILE, FileEntry, Manifest, video_file
from volano.errors import Code

_EGO = video_file("ego")


def truncated_video(folder: Path, draft: Draft) -> Manifest:
    write_bundle(folder, draft)
    path = folder / _EGO
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return manifest_of(folder, draft)


def truncated_streamable_video(folder: Path, draft: Draft) -> Manifest:
    """The index stands first, so that the file opens and ends early."""
    write_bundle(folder, draft)
    images = [draw(number, 64, 64) for number in range(draft.frames)]
    encode(folder / _EGO, images, rate=10, container_options={"movflags": "+faststart"})
    path = folder / _EGO
    path.write_bytes(path.read_bytes()[:-200])
    return manifest_of(folder, draft)


def video_cut_between_frames(folder: Path, draft: Draft) -> Manifest:
    """Every frame that is left decodes; only the container's index knows of more."""
    write_bundle(folder, draft)
    images = [draw(number, 64, 64) for number in range(draft.frames)]
    path = folder / _EGO
    encode(path, images, rate=10, container_options={"movflags": "+faststart"})
    with av.open(str(path)) as container:
        starts = [packet.pos for packet in container.demux(video=0) if packet.size and packet.pos is not None]
    path.write_bytes(path.read_bytes()[: starts[-3]])
    return manifest_of(folder, draft)


def damaged_video(folder: Path, draft: Draft) -> Manifest:
    """Every third byte of the pictures is wrong."""
    write_bundle(folder, draft)
    path = folder / _EGO
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 900
    end = data.rindex(b"moov") - 4
    for position in range(start, end, 3):
        data[position] ^= 0xFF
    path.write_bytes(bytes(data))
    return manifest_of(folder, draft)


def one_damaged_bit(folder: Path, draft: Draft) -> Manifest:
    """Decoders conceal it, and hand out a picture that nobody saw; where the stream stays valid nobody can tell."""
    write_bundle(folder, draft)
    path = folder / _EGO
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat") + 900, data.rindex(b"moov")
    data[(start + end) // 2 + 31 * draft.seed % ((end - start) // 2)] ^= 1
    path.write_bytes(bytes(data))
    return manifest_of(folder, draft)


def not_a_video(folder: Path, draft: Draft) -> Manifest:
    write_bundle(folder, draft)
    (folder / _EGO).write_bytes(b"#EXTM3U\nhttp://127.0.0.1/secret\n")
    return manifest_of(folder, draft)


def short_video(folder: Path, draft: Draft) -> Manifest:
    write_bundle(folder, draft)
    encode(folder / _EGO, [draw(number, 64, 64) for number in range(draft.frames - 1)], rate=10)
    return manifest_of(folder, draft)


def long_video(folder: Path, draft: Draft) -> Manifest:
    write_bundle(folder, draft)
    encode(folder / _EGO, [draw(number, 64, 64) for number in range(draft.frames + 1)], rate=10)
    return manifest_of(folder, draft)


def small_video(folder: Path, draft: Draft) -> Manifest:
    write_bundle(folder, draft)
    encode(folder / _EGO, [draw(number, 32, 64) for number in range(draft.frames)], rate=10)
    return manifest_of(folder, draft)


def other_codec(folder: Path, draft: Draft) -> Manifest:
    write_bundle(folder, draft)
    images = [draw(number, 64, 64) for number in range(draft.frames)]
    encode(folder / _EGO, images, rate=10, codec="mpeg4")
    return manifest_of(folder, draft)


def missing_row(folder: Path, draft: Draft) -> Manifest:
    manifest = write_bundle(folder, draft)
    table = pq.read_table(folder / STEPS_FILE)
    pq.write_table(table.slice(0, draft.frames - 1), folder / STEPS_FILE)
    return claims_with(manifest_of(folder, draft), frames=manifest.frames)


def _with_columns(**spoil: Callable[[Any], Any]) -> Defect:
    def write(folder: Path, draft: Draft) -> Manifest:
        write_bundle(folder, draft)
        table = columns(draft)
        for name, change in spoil.items():
            table[name] = change(table[name])
        write_steps(folder / STEPS_FILE, table, draft.embodiment)
        return manifest_of(folder, draft)

    return write


def _put(value: float) -> Callable[[Any], Any]:
    def change(values: Any) -> Any:
        changed = np.array(values)
        changed[1, 1] = value
        return changed

    return change


def _with_table(change: Callable[[pa.Table], pa.Table]) -> Defect:
    def write(folder: Path, draft: Draft) -> Manifest:
        write_bundle(folder, draft)
        pq.write_table(change(pq.read_table(folder / STEPS_FILE)), folder / STEPS_FILE)
        return manifest_of(folder, draft)

    return write


def _wider(table: pa.Table) -> pa.Table:
    return table.append_column("extra", pa.nulls(len(table), pa.int64()))


def _doubles(table: pa.Table) -> pa.Table:
    place = table.schema.get_field_index("action")
    return table.set_column(place, "action", table["action"].cast(pa.list_(pa.float64(), 2)))


def _null_request(table: pa.Table) -> pa.Table:
    place = table.schema.get_field_index("request")
    return table.set_column(place, "request", pa.array([None] * len(table), pa.string()))


def _null_inside_action(table: pa.Table) -> pa.Table:
    place = table.schema.get_field_index("action")
    rows = [[None, 0.0], *([0.0, 0.0] for _ in range(len(table) - 1))]
    return table.set_column(place, "action", pa.array(rows, pa.list_(pa.float32(), 2)))


def not_parquet(folder: Path, draft: Draft) -> Manifest:
    write_bundle(folder, draft)
    (folder / STEPS_FILE).write_bytes(b"PAR1 this is not a table PAR1")
    return manifest_of(folder, draft)


def changed_after(folder: Path, draft: Draft) -> Manifest:
    manifest = write_bundle(folder, draft)
    data = bytearray((folder / STEPS_FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / STEPS_FILE).write_bytes(bytes(data))
    return manifest


def grown_after(folder: Path, draft: Draft) -> Manifest:
    manifest = write_bundle(folder, draft)
    (folder / STEPS_FILE).write_bytes((folder / STEPS_FILE).read_bytes() + b"x")
    return manifest


def lost_file(folder: Path, draft: Draft) -> Manifest:
    manifest = write_bundle(folder, draft)
    (folder / _EGO).unlink()
    return manifest


def unnamed_file(folder: Path, draft: Draft) -> Manifest:
    write_bundle(folder, draft)
    (folder / _EGO).unlink()
    return manifest_of(folder, draft)


def foreign_camera(folder: Path, draft: Draft) -> Manifest:
    write_bundle(folder, draft)
    (folder / video_file("spy")).write_bytes((folder / _EGO).read_bytes())
    return manifest_of(folder, draft)


def unknown_contract(folder: Path, draft: Draft) -> Manifest:
    return claims_with(write_bundle(folder, draft), fingerprint="0" * 64)


def other_rate(folder: Path, draft: Draft) -> Manifest:
    return claims_with(write_bundle(folder, draft), rate_hz=20.0)


def no_language(folder: Path, draft: Draft) -> Manifest:
    return write_bundle(folder, replace(draft, instruction=" \n"))


def far_too_large(folder: Path, draft: Draft) -> Manifest:
    manifest = write_bundle(folder, draft)
    huge = FileEntry(size=1 << 40, sha256=manifest.files[_EGO].sha256)
    return claims_with(manifest, files={**manifest.files, _EGO: huge})


def claiming(**changes: Any) -> Defect:
    """A sound bundle under claims that are hostile or another's."""
    return lambda folder, draft: claims_with(write_bundle(folder, draft), **changes)


def hostile_file_name(folder: Path, draft: Draft) -> Manifest:
    manifest = write_bundle(folder, draft)
    return claims_with(manifest, files={**manifest.files, "../../keys/release.pub": manifest.files[_EGO]})


DEFECTS: dict[str, tuple[Code, Defect]] = {
    "truncated video": (Code.DATA_TRUNCATED_VIDEO, truncated_video),
    "truncated streamable video": (Code.DATA_TRUNCATED_VIDEO, truncated_streamable_video),
    "video cut between frames": (Code.DATA_TRUNCATED_VIDEO, video_cut_between_frames),
    "damaged video": (Code.DATA_TRUNCATED_VIDEO, damaged_video),
    "not a video": (Code.DATA_TRUNCATED_VIDEO, not_a_video),
    "short video": (Code.DATA_FRAME_COUNT, short_video),
    "long video": (Code.DATA_FRAME_COUNT, long_video),
    "missing row": (Code.DATA_FRAME_COUNT, missing_row),
    "NaN action": (Code.DATA_NOT_FINITE, _with_columns(action=_put(float("nan")))),
    "infinite state": (Code.DATA_NOT_FINITE, _with_columns(state=_put(float("inf")))),
    "action beyond its limit": (Code.DATA_LIMITS, _with_columns(action=_put(2.1))),
    "state beyond its limit": (Code.DATA_LIMITS, _with_columns(state=_put(-11.0))),
    "another column": (Code.DATA_SCHEMA, _with_table(_wider)),
    "another type": (Code.DATA_SCHEMA, _with_table(_doubles)),
    "null text": (Code.DATA_SCHEMA, _with_table(_null_request)),
    "null inside a vector": (Code.DATA_SCHEMA, _with_table(_null_inside_action)),
    "not Parquet": (Code.DATA_SCHEMA, not_parquet),
    "gap in frame_index": (Code.DATA_SCHEMA, _with_columns(frame_index=lambda old: [*old[:-1], old[-1] + 1])),
    "segments disagree": (Code.DATA_SCHEMA, _with_columns(segment=lambda old: old[::-1])),
    "unknown executed": (Code.DATA_SCHEMA, _with_columns(executed=lambda old: ["magic", *old[1:]])),
    "endless text in few bytes": (Code.DATA_SCHEMA, _with_columns(request=lambda old: ["x" * 1_000_000, *old[1:]])),
    "escape in an identifier": (Code.DATA_SCHEMA, _with_columns(request=lambda old: ["\x1b[2J", *old[1:]])),
    "unnamed policy": (Code.DATA_SCHEMA, _with_columns(policy=lambda old: ["cd" * 32, *old[1:]])),
    "changed after the manifest": (Code.DATA_HASH, changed_after),
    "grown after the manifest": (Code.DATA_HASH, grown_after),
    "lost file": (Code.DATA_MISSING_FILE, lost_file),
    "unnamed file": (Code.DATA_MISSING_FILE, unnamed_file),
    "time stands still": (Code.DATA_CLOCK, _with_columns(timestamp=lambda old: [old[1], *old[1:]])),
    "time is not a number": (Code.DATA_CLOCK, _with_columns(timestamp=lambda old: [*old[:-1], float("nan")])),
    "time at double rate": (Code.DATA_CLOCK, _with_columns(timestamp=lambda old: [time / 2 for time in old])),
    "long pause": (Code.DATA_CLOCK, _with_columns(timestamp=lambda old: [*old[:-1], old[-1] + 2])),
    "unknown contract": (Code.DATA_CONTRACT, unknown_contract),
    "other rate": (Code.DATA_CONTRACT, other_rate),
    "foreign camera": (Code.DATA_CONTRACT, foreign_camera),
    "small video": (Code.DATA_CONTRACT, small_video),
    "other codec": (Code.DATA_CONTRACT, other_codec),
    "no language": (Code.DATA_LANGUAGE, no_language),
    "far too large": (Code.DATA_SIZE, far_too_large),
    "hostile attempt": (Code.DATA_MANIFEST, claiming(attempt="../../etc/passwd")),
    "hostile file name": (Code.DATA_MANIFEST, hostile_file_name),
    "hostile instruction": (Code.DATA_MANIFEST, claiming(instruction="go \x1b[2J")),
    "no segments": (Code.DATA_MANIFEST, claiming(segments=())),
    "another robot's name": (Code.DATA_ROBOT, claiming(robot="rover-02")),
    **SENSOR_DEFECTS,
}
