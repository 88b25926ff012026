"""LeRobot datasets read in place: numbers bit for bit, untouched videos byte for byte, every frame in its own row."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.unit.data.bundles import ROVER, Draft, read_number, write_bundle
from tests.unit.data.readers.reading import convert_here, require_true
from tests.unit.data.readers.sources import CAMERAS, RATE, TRUTHS, document, parsed, write_v2, write_v3
from volano.data.bundle import read_manifest
from volano.data.episode import video_file
from volano.data.lerobot import SourceEpisode
from volano.data.lerobot import write as write_lerobot
from volano.data.readers import footage, parquet
from volano.data.readers.foreign import ForeignVideo
from volano.data.readers.open import read
from volano.data.readers.plan import plan
from volano.data.steps import read_steps
from volano.data.video import decode
from volano.errors import Code, DataError

FRONT = "observation.images.front"


def test_v2_is_bit_exact_and_its_videos_are_the_same_files(tmp_path: Path) -> None:
    source = write_v2(tmp_path / "source")
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    made = convert_here(source, document(), tmp_path / "out")
    assert [bundle.name for bundle, _ in made] == ["old-000000", "old-000001", "old-000002"]
    for number, ((bundle, planned), truth) in enumerate(zip(made, TRUTHS, strict=True)):
        require_true(bundle, truth)
        assert {camera.treatment for camera in planned.cameras.values()} == {"copy"}
        original = source / f"videos/chunk-000/{FRONT}/episode_{number:06d}.mp4"
        assert (bundle / video_file("ego")).read_bytes() == original.read_bytes()
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before


def test_v2_with_images_in_the_table(tmp_path: Path) -> None:
    made = convert_here(write_v2(tmp_path / "source", images=True), document(), tmp_path / "out")
    for (bundle, planned), truth in zip(made, TRUTHS, strict=True):
        require_true(bundle, truth)
        assert planned.cameras["ego"].reason == "single images, png"


def test_v3_episodes_are_cut_out_without_encoding(tmp_path: Path) -> None:
    source = write_v3(tmp_path / "source")
    for (bundle, planned), truth in zip(convert_here(source, document(), tmp_path / "out"), TRUTHS, strict=True):
        require_true(bundle, truth)
        assert {camera.treatment for camera in planned.cameras.values()} == {"cut"}
        assert np.allclose(footage.look(bundle / video_file("ego")).times, np.arange(truth.frames) / RATE)


def test_v3_cut_frames_are_the_source_s_pixels(tmp_path: Path) -> None:
    source = write_v3(tmp_path / "source")
    whole = list(decode(source / f"videos/{FRONT}/chunk-000/file-000.mp4"))
    for bundle, _ in convert_here(source, document(), tmp_path / "out"):
        for image in decode(bundle / video_file("ego")):
            assert (image == whole.pop(0)).all()
    assert not whole


@pytest.mark.parametrize(
    ("codec", "options", "reason"),
    [
        ("libsvtav1", {}, "it is av1"),
        ("libx264", {"bf": "3", "b-adapt": "0"}, "its frames are reordered, and other episodes stand around them"),
        ("libx264", {"g": "250", "fresh": ""}, "it does not begin with a keyframe"),
    ],
)
def test_what_cannot_be_cut_is_encoded_with_every_frame_in_its_row(
    tmp_path: Path, codec: Any, options: Any, reason: str
) -> None:
    source = write_v3(tmp_path / "source", codec=codec, **options)
    made = convert_here(source, document(), tmp_path / "out")
    for (bundle, _), truth in zip(made, TRUTHS, strict=True):
        require_true(bundle, truth)
    assert made[-1][1].cameras["ego"].reason == reason


def test_what_volano_writes_reads_back(tmp_path: Path) -> None:
    sources = []
    for number in range(2):
        manifest = write_bundle(tmp_path / str(number), Draft(seed=number, first_number=50 * number))
        sources.append(SourceEpisode(folder=tmp_path / str(number), manifest=manifest, weight=1.0))
    write_lerobot(tmp_path / "dataset", ROVER, sources)
    names = {"front": "ego", "back": "rear"}
    text = json.dumps(document())
    for foreign, ours in names.items():
        text = text.replace(f"observation.images.{foreign}", f"observation.images.{ours}")
    ordered = sorted(sources, key=lambda source: source.manifest.content_id)
    for (bundle, _), source in zip(
        convert_here(tmp_path / "dataset", json.loads(text), tmp_path / "out"), ordered, strict=True
    ):
        original = pq.read_table(source.folder / "steps.parquet", columns=["state", "action"])
        assert pq.read_table(bundle / "steps.parquet", columns=["state", "action"]).equals(original)


def rewrite(path: Path, column: str, change: Any) -> None:
    table = pq.read_table(path)
    place = table.column_names.index(column)
    pq.write_table(table.set_column(place, column, change(table[column])), path)


def edit_info(root: Path, **changes: Any) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"


@pytest.mark.parametrize(
    ("spoil", "code", "says"),
    [
        (lambda root: rewrite(root / DATA, "index", lambda c: pc.add(c, 5)), Code.DATA_FOREIGN, "not its place"),
        (lambda root: rewrite(root / DATA, "frame_index", lambda c: pc.add(c, 1)), Code.DATA_FOREIGN, "not in order"),
        (lambda root: rewrite(root / DATA, "task_index", lambda c: pc.subtract(1, c)), Code.DATA_FOREIGN, "different"),
        (lambda root: rewrite(root / DATA, "task_index", lambda c: pc.add(c, 9)), Code.DATA_FOREIGN, "task 9 of 2"),
        (
            lambda root: rewrite(root / "meta/tasks.parquet", "task_index", lambda _: pa.array([1, 0])),
            Code.DATA_FOREIGN,
            "not in order",
        ),
        (lambda root: rewrite(root / EPISODES, "length", lambda c: pc.subtract(c, 1)), Code.DATA_FOREIGN, "length"),
        (lambda root: (root / f"videos/{FRONT}/chunk-000/file-000.mp4").unlink(), Code.DATA_MISSING_FILE, "not there"),
        (lambda root: edit_info(root, codebase_version="v3.7"), Code.DATA_FOREIGN, "version 'v3.7'"),
        (lambda root: edit_info(root, fps=0), Code.DATA_FOREIGN, "fps"),
        (lambda root: edit_info(root, data_path="../{chunk_index}/x.parquet"), Code.DATA_OUTSIDE, "../"),
        (lambda root: edit_info(root, data_path="/etc/passwd"), Code.DATA_OUTSIDE, "file name"),
        (lambda root: edit_info(root, data_path="{chunk_index.__class__}"), Code.DATA_OUTSIDE, "path template"),
        (lambda root: edit_info(root, fps=15), Code.DATA_CLOCK, "15 Hz"),
    ],
)
def test_v3_faults_that_stock_readers_let_through_are_refused(
    tmp_path: Path, spoil: Any, code: Code, says: str
) -> None:
    source = write_v3(tmp_path / "source")
    spoil(source)
    with pytest.raises(DataError, match=says) as caught:
        convert_here(source, document(), tmp_path / "out")
    assert caught.value.code == code


@pytest.mark.parametrize("shift", [-1, -5])
def test_a_video_that_is_early_is_refused(tmp_path: Path, shift: int) -> None:
    source = write_v3(tmp_path / "source", shift_frames=shift)
    with pytest.raises(DataError, match="share frames"):
        convert_here(source, document(), tmp_path / "out")


def test_a_video_that_is_late_has_too_few_frames(tmp_path: Path) -> None:
    source = write_v3(tmp_path / "source", shift_frames=1)
    mapping = parsed(document())
    _, found = read(source, mapping)
    with pytest.raises(DataError) as caught:
        plan(found[-1].open(), mapping, ROVER)
    assert caught.value.code == Code.DATA_FRAME_COUNT


def test_a_stray_table_shifts_nothing(tmp_path: Path) -> None:
    source = write_v3(tmp_path / "source")
    (source / "data/chunk-000/aaa.parquet").write_bytes((source / DATA).read_bytes())
    for (bundle, _), truth in zip(convert_here(source, document(), tmp_path / "out"), TRUTHS, strict=True):
        require_true(bundle, truth)


def test_tables_are_measured_before_they_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_v2(tmp_path / "source")
    monkeypatch.setattr(parquet, "MAX_LOADED_BYTES", 500)
    with pytest.raises(DataError, match="too large to be loaded") as caught:
        convert_here(source, document(), tmp_path / "out")
    assert caught.value.code == Code.DATA_SIZE


def test_links_are_not_followed(tmp_path: Path) -> None:
    source = write_v2(tmp_path / "source")
    path = source / "data/chunk-000/episode_000001.parquet"
    path.rename(tmp_path / "elsewhere.parquet")
    path.symlink_to(tmp_path / "elsewhere.parquet")
    mapping = parsed(document())
    _, found = read(source, mapping)
    found[0].open()
    with pytest.raises(DataError) as caught:
        found[1].open()
    assert caught.value.code == Code.DATA_OUTSIDE


def test_another_size_is_refused_or_fitted(tmp_path: Path) -> None:
    source = write_v2(tmp_path / "source", TRUTHS[:1])
    swapped = document()
    swapped["cameras"]["rear"] = {"field": FRONT}
    with pytest.raises(DataError, match="stretch or crop"):
        convert_here(source, swapped, tmp_path / "refused")
    swapped["cameras"]["rear"]["fit"] = "crop"
    [(bundle, planned)] = convert_here(source, swapped, tmp_path / "out")
    assert planned.cameras["rear"].reason == "it is 64 x 64"
    assert planned.cameras["ego"].treatment == "copy"
    assert read_manifest(bundle).frames == TRUTHS[0].frames


def test_recorded_success_and_units(tmp_path: Path) -> None:
    source = write_v2(tmp_path / "source", TRUTHS[:1])
    changed = document(outcome={"success": {"field": "next.success", "when": "end"}, "source": "script"})
    changed["state"]["yaw_rate"] |= {"unit": "deg/s", "scale": -2.0, "offset": 1.0}
    [(bundle, _)] = convert_here(source, changed, tmp_path / "out")
    steps = read_steps(bundle / "steps.parquet", ROVER, frames=TRUTHS[0].frames)
    wanted = (TRUTHS[0].state[:, 1].astype(float) * -2 + 1) * 3.141592653589793 / 180
    assert steps.state[:, 1].tolist() == wanted.astype("float32").tolist()
    outcome = read_manifest(bundle).outcome
    assert (outcome.success, outcome.autonomous, outcome.source) == (True, False, "script")


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    source = write_v3(tmp_path / "source", TRUTHS[:2], codec="libsvtav1")
    first = convert_here(source, document(), tmp_path / "a")
    second = convert_here(source, document(), tmp_path / "b")
    for (one, _), (other, _) in zip(first, second, strict=True):
        assert (one / "manifest.json").read_bytes() == (other / "manifest.json").read_bytes()


def test_frames_out_of_a_longer_video_are_the_right_ones(tmp_path: Path) -> None:
    source = write_v3(tmp_path / "source", codec="libsvtav1")
    mapping = parsed(document())
    _, found = read(source, mapping)
    episode = found[2].open()
    cut = plan(episode, mapping, ROVER).cameras["ego"].cut
    video = episode.cameras[FRONT]
    assert isinstance(video, ForeignVideo)
    assert cut is not None
    assert [read_number(image) for image in footage.images(video, cut)][:3] == [207, 208, 209]
    assert set(episode.cameras) == set(CAMERAS)
