"""What three robots do wrong on purpose: each takes a sound bundle and makes another, finished one that is spoiled.

A spoiled bundle's manifest agrees with its files byte by byte: the damage happened on the robot, before anything was
hashed, and only decoding or looking at the numbers finds it. The manifest is written last, as for a sound bundle.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.fleet.plan import Defect
from volano.data.bundle import MANIFEST_FILE, read_manifest
from volano.data.episode import STEPS_FILE, FileEntry, Manifest
from volano.storage.content import sha256_file
from volano.storage.files import replace_file

_NAN_ROWS = 2
_KEPT_SHARE = 0.6


def spoil(bundle: Path, twin: Path, defect: Defect) -> None:
    """Make `twin`, the spoiled copy of a finished bundle, unless it is finished already; a torn one is replaced. The
    twin's folder names its attempt."""
    if (twin / MANIFEST_FILE).exists():
        return
    sound = read_manifest(bundle)
    shutil.rmtree(twin, ignore_errors=True)
    twin.mkdir(parents=True)
    for name in sound.files:
        shutil.copyfile(bundle / name, twin / name)
    if defect == "truncate":
        _cut_videos(twin, sound)
    elif defect == "nan":
        _lose_actions(twin / STEPS_FILE)
    manifest = replace(sound, attempt=twin.name, files={name: _entry(twin / name) for name in sound.files})
    replace_file(twin / MANIFEST_FILE, [manifest.to_bytes()])


def _cut_videos(folder: Path, manifest: Manifest) -> None:
    for name in manifest.files:
        if name.endswith(".mp4"):
            os.truncate(folder / name, int(_KEPT_SHARE * (folder / name).stat().st_size))


def _lose_actions(path: Path) -> None:
    """NaN in the first rows of the actions."""
    table = pq.read_table(path)
    kind = table.schema.field("action").type
    values = table["action"].combine_chunks().flatten().to_numpy().copy()
    values[: _NAN_ROWS * kind.list_size] = np.nan
    spoiled = pa.FixedSizeListArray.from_arrays(pa.array(values, pa.float32()), kind.list_size)
    position = table.schema.get_field_index("action")
    pq.write_table(table.set_column(position, table.schema.field(position), spoiled), path)


def _entry(path: Path) -> FileEntry:
    return FileEntry(size=path.stat().st_size, sha256=sha256_file(path))
