"""What it costs to make a dataset version of uploads whose videos can stay as they are.

Two parts, apart: the gate, which decodes every frame to look at it, beside decoding alone; and the version, which
fetches, compares hashes, joins and writes, beside reading the packets of the same files, hashing and writing them. Both
together are held against the second limit, against both limits together, since a gate that looks at every frame has to
decode it, and against LeRobot's writer, which encodes, in an environment of its own (`--peer FOLDER`).
`python -m benchmarks.ingest_passthrough --json FILE [--quick] [--height PIXELS] [--peer FOLDER]`.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import av

from benchmarks.attempts import arm, bundle, draft
from benchmarks.ingest_sides import CAMERAS, Side, built, judged, run
from benchmarks.lerobot_peer import compared_with
from benchmarks.measuring import speed, timed
from benchmarks.report import Row
from tests.unit.data.bundles import upload
from volano.data.episode import Manifest
from volano.data.judge import read_manifest
from volano.storage.content import sha256_bytes
from volano.storage.files import write_synced
from volano.storage.folder import FolderStore
from volano.storage.store import ObjectStore

_CODEC = {"preset": "veryfast", "crf": "23", "g": "15", "bf": "0"}
_SIDES = (
    Side(height=224, width=224, episodes=64, frames=200, repeats=7),
    Side(height=480, width=640, episodes=16, frames=200, repeats=5),
)
_QUICK = Side(height=224, width=224, episodes=16, frames=60, repeats=3)
_ROBOTS = 8
"""Each has recorded the same attempts, which are told apart by who did: they take long to make."""


def decoded(store: ObjectStore, manifests: Sequence[Manifest]) -> None:
    """The gate's limit: every frame out of its video, in one thread, and nothing done with it."""
    for data in _files(store, manifests, ".mp4"):
        with av.open(BytesIO(data), mode="r") as container:
            container.streams.video[0].codec_context.thread_count = 1
            for _ in container.decode(video=0):
                pass


def copied(store: ObjectStore, manifests: Sequence[Manifest], folder: Path) -> None:
    """The version's limit: packets read, bytes hashed and written through to the disk."""
    folder.mkdir()
    for number, data in enumerate(_files(store, manifests, "")):
        sha256_bytes(data)
        if data[4:8] == b"ftyp":
            with av.open(BytesIO(data), mode="r") as container:
                for _ in container.demux(video=0):
                    pass
        write_synced(folder / str(number), [data], 0o644)


def _files(store: ObjectStore, manifests: Sequence[Manifest], suffix: str) -> list[bytes]:
    files = [entry for one in manifests for name, entry in sorted(one.files.items()) if name.endswith(suffix)]
    return [store.get(f"blobs/{entry.sha256}") for entry in files]


def measure(folder: Path, side: Side, peer: Path) -> list[Row]:
    """One size of pictures, in pairs, who is first taking turns."""
    robot = arm(CAMERAS, side.height, side.width)
    (folder / "sent").mkdir()
    drafts = [draft(robot, number, side.frames) for number in range(side.episodes // _ROBOTS)]
    sent, uploads = FolderStore(folder / "sent"), list[str]()
    for one in drafts:
        place = folder / "bundles" / one.attempt
        manifest = bundle(place, one)
        uploads += [upload(sent, place, replace(manifest, robot=f"arm-{number:02d}")) for number in range(_ROBOTS)]
    manifests = [read_manifest(sent, key) for key in uploads]
    spent: dict[str, list[float]] = {name: [] for name in ("gate", "decode", "version", "copy")}
    for repeat in range(side.repeats):
        place = folder / str(repeat)
        shutil.copytree(folder / "sent", place, copy_function=os.link)
        store = FolderStore(place)
        work = {
            "gate": lambda: judged(store, uploads, robot),  # noqa: B023  # done at once, as all of these
            "decode": lambda: decoded(store, manifests),  # noqa: B023
            "version": lambda: built(store, robot),  # noqa: B023
            "copy": lambda: copied(store, manifests, place / "copy"),  # noqa: B023
        }
        for first, second in (("gate", "decode"), ("version", "copy")):
            for name in (first, second) if repeat % 2 else (second, first):
                spent[name].append(timed(work[name]).cpu)
        shutil.rmtree(place)
    both = [gate + version for gate, version in zip(spent["gate"], spent["version"], strict=True)]
    needed = [decode + copy for decode, copy in zip(spent["decode"], spent["copy"], strict=True)]
    limit, metric = "packets read, hashed, written", f"gate and version, {side.name}"
    return [
        speed(f"version, {side.name}", spent["version"], spent["copy"], limit, must=0.5, aim=0.7),
        speed(f"gate, {side.name}", spent["gate"], spent["decode"], "decoding alone"),
        speed(metric, both, needed, f"frames decoded, {limit}"),
        speed(metric, both, spent["copy"], limit),
        compared_with(peer, folder, metric, both, side.pictures, drafts, _CODEC, must=10.0, aim=50.0),
    ]


if __name__ == "__main__":
    run("ingest_passthrough", __doc__, _SIDES, _QUICK, measure)
