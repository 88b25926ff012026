"""Mutated videos and tables in uploads, through the sandbox: each gets a finding or is accepted, and no service dies.

What is accepted is decoded once more by the code that builds versions, which has no sandbox: every frame and row must
be there. `python -m tests.sweeps.mutations.test_uploads MP4 29 FOLDER` makes one input again, as a bundle.
"""

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.sweeps.conftest import SWEPT
from tests.sweeps.mutations.inputs import INPUTS, LIMITS, PARTS, batches, chance_of, require_coded, require_each, told
from tests.sweeps.mutations.mutate import Mutate, mp4, parquet
from tests.unit.data.bundles import (
    ROVER,
    Draft,
    claims_with,
    columns,
    encode,
    images_of,
    manifest_of,
    write_bundle,
    write_steps,
)
from volano.data.episode import STEPS_FILE, FileEntry, Manifest, video_file
from volano.data.lerobot import SourceEpisode, write
from volano.data.sandbox import Bundle, check_bundles
from volano.data.steps import read_steps
from volano.data.validate import check_bundle
from volano.data.video import decode
from volano.storage.content import sha256_bytes

pytestmark = pytest.mark.slow
_MUTATE: dict[str, Mutate] = {"MP4": mp4, "Parquet": parquet}
_DRAFT = Draft(frames=5)
_EGO = video_file("ego")
_VIDEOS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "plain": ({}, {}),
    "index first": ({}, {"movflags": "faststart"}),
    "fragments": ({}, {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
    "keyframes only": ({"g": "1"}, {}),
    "reordered": ({"bf": "2"}, {}),
}
"""Name to the options of the encoder and of the container."""
_TABLES: dict[str, dict[str, object]] = {
    "plain": {},
    "unpacked": {"compression": "none", "use_dictionary": False},
    "zstd, second pages": {"compression": "zstd", "data_page_version": "2.0"},
    "gzip, small pages": {"compression": "gzip", "data_page_size": 64, "write_page_index": True},
    "brotli, small groups": {"compression": "brotli", "row_group_size": 2, "write_page_checksum": True},
    "deltas": {"use_dictionary": False, "column_encoding": {"frame_index": "DELTA_BINARY_PACKED"}},
}


@dataclass(frozen=True, kw_only=True)
class Seed:
    """A clean bundle, and the one of its files that is damaged."""

    folder: Path
    manifest: Manifest
    file: str
    data: bytes


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Seed]]:
    return written(tmp_path_factory.mktemp("seeds"))


def written(root: Path) -> dict[str, list[Seed]]:
    """Clean bundles by what is damaged in them."""
    made: dict[str, list[Seed]] = {"MP4": [], "Parquet": []}
    write_bundle(root / "clean", _DRAFT)
    for name, (options, container) in _VIDEOS.items():
        folder = root / f"video {name}"
        shutil.copytree(root / "clean", folder)
        images = images_of(_DRAFT, ROVER.cameras[0])
        encode(folder / _EGO, images, rate=int(ROVER.rate_hz), options=options, container_options=container)
        made["MP4"].append(_seed(folder, _EGO))
    for name, written_as in _TABLES.items():
        folder = root / f"table {name}"
        shutil.copytree(root / "clean", folder)
        write_steps(folder / STEPS_FILE, columns(_DRAFT), ROVER)
        pq.write_table(pq.read_table(folder / STEPS_FILE), folder / STEPS_FILE, **written_as)
        made["Parquet"].append(_seed(folder, STEPS_FILE))
    return made


def _seed(folder: Path, file: str) -> Seed:
    manifest = manifest_of(folder, _DRAFT)
    assert check_bundle(folder, manifest, ROVER) is None, folder.name
    return Seed(folder=folder, manifest=manifest, file=file, data=(folder / file).read_bytes())


def damaged(seeds: dict[str, list[Seed]], kind: str, number: int, folder: Path) -> Bundle:
    """An input: a clean bundle with other bytes in one file."""
    seed = seeds[kind][number % len(seeds[kind])]
    data = _MUTATE[kind](seed.data, chance_of(kind, number))
    folder.mkdir()
    for name in seed.manifest.files:
        if name != seed.file:
            shutil.copyfile(seed.folder / name, folder / name)
    (folder / seed.file).write_bytes(data)
    entry = FileEntry(size=len(data), sha256=sha256_bytes(data))
    manifest = claims_with(seed.manifest, files={**seed.manifest.files, seed.file: entry})
    return Bundle(folder=folder, manifest=manifest, embodiment=ROVER)


def require_sound(bundles: Sequence[Bundle]) -> None:
    """Every row and frame of accepted bundles is there, alone and in a dataset that is built of them."""
    for bundle in bundles:
        frames, place = bundle.manifest.frames, bundle.folder
        steps = read_steps(place / STEPS_FILE, ROVER, frames=frames)
        assert steps.frame_index.tolist() == list(range(frames)), place.name
        assert np.isfinite(np.concatenate([steps.state, steps.action], axis=1)).all(), place.name
        assert (np.diff(steps.timestamp) > 0).all(), place.name
        for camera in ROVER.cameras:
            shapes = [image.shape for image in decode(place / video_file(camera.name))]
            assert shapes == [(camera.height, camera.width, 3)] * frames, place.name
    if not bundles:
        return
    folder = bundles[0].folder.with_name("built")
    shutil.rmtree(folder, ignore_errors=True)
    once = {bundle.manifest.content_id: bundle for bundle in bundles}
    write(folder, ROVER, [SourceEpisode(folder=b.folder, manifest=b.manifest, weight=1.0) for b in once.values()])
    rows = sum(bundle.manifest.frames for bundle in once.values())
    assert sum(pq.read_metadata(path).num_rows for path in (folder / "data").rglob("*.parquet")) == rows
    for camera in ROVER.cameras:
        videos = (folder / "videos").rglob(f"*{camera.name}*/**/*.mp4")
        assert sum(sum(1 for _ in decode(path)) for path in videos) == rows, camera.name


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", _MUTATE)
def test_mutated_uploads_end_in_a_code(
    tmp_path: Path,
    seeds: dict[str, list[Seed]],
    kind: str,
    part: int,
    record_property: Callable[[str, object], None],
) -> None:
    seen: Counter[str] = Counter()
    for numbers in batches(kind, part):
        bundles = [damaged(seeds, kind, number, tmp_path / f"{kind} {number}") for number in numbers]
        found = check_bundles(bundles, LIMITS)
        seen += require_coded(found, [bundle.folder.name for bundle in bundles])
        accepted = [bundle for bundle, finding in zip(bundles, found, strict=True) if finding is None]
        require_each(accepted, [bundle.folder.name for bundle in accepted], require_sound)
        for folder in tmp_path.iterdir():
            shutil.rmtree(folder)
    record_property(SWEPT, told(seen, INPUTS[kind] // PARTS))
    assert seen["accepted"] < seen.total() // 2, "too little of it is damage"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as clean:
        bundle = damaged(written(Path(clean)), sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    sys.stdout.write(f"{bundle.folder}\n")
