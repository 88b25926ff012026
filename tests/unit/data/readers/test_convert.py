"""The whole way: a limited child converts, bundles are uploaded, the gate judges them; planned, repeated and killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.unit.data.bundles import KNOWN, ROVER
from tests.unit.data.readers import test_hdf5
from tests.unit.data.readers.reading import require_true
from tests.unit.data.readers.sources import TRUTHS, document, encode_joined, write_v2, write_v3
from volano.cli import app
from volano.data.conservation import count
from volano.data.judge import judge
from volano.data.readers.child import LIMITS, Request
from volano.data.readers.convert import Conversion, Converted
from volano.data.readers.deliver import into_folder, into_store, planned
from volano.data.readers.mapping import Mapping
from volano.data.sandbox import Limits, check_bundles
from volano.data.verdict import pending
from volano.data.version import describe_folder
from volano.errors import Code, DataError, StorageError
from volano.storage.folder import FolderStore


def request(source: Path, changed: dict[str, Any] | None = None, limits: Limits = LIMITS, workers: int = 1) -> Request:
    text = json.dumps(changed or document())
    return Request(
        source=source,
        embodiment=ROVER,
        mapping=Mapping.from_bytes(text.encode()),
        mapping_text=text,
        robot="rover-01",
        output=None,
        workers=workers,
        limits=limits,
    )


def store_in(folder: Path) -> FolderStore:
    folder.mkdir()
    return FolderStore(folder)


def statuses(found: list[Converted]) -> Counter[str]:
    return Counter(one.status for one in found)


def test_what_is_converted_is_judged_like_any_upload(tmp_path: Path) -> None:
    """Three good episodes are accepted; of one whose action leaves the limits the gate says so."""
    changed = document()
    store = store_in(tmp_path / "store")
    source = write_v3(tmp_path / "source")
    assert statuses(list(into_store(request(source, changed), store))) == {"converted": 3}
    changed["dataset"], changed["action"]["speed"]["scale"] = "wild", 2.0
    assert statuses(list(into_store(request(source, changed), store))) == {"converted": 3}
    judge(store, pending(store), KNOWN, partial(check_bundles, limits=Limits()))
    counts = count(store)
    assert (counts.uploaded, counts.accepted, counts.quarantined) == (6, 3, {Code.DATA_LIMITS: 3})
    assert statuses(list(into_store(request(source), store))) == {"already": 3}


def test_into_a_folder_and_again(tmp_path: Path) -> None:
    source = write_v2(tmp_path / "source")
    conversion = into_folder(request(source), tmp_path / "out")
    for one, truth in zip(conversion, TRUTHS, strict=True):
        assert (one.status, one.plan["cameras"]["ego"]["treatment"]) == ("converted", "copy")
        require_true(tmp_path / "out" / one.attempt, truth)
    assert conversion.format == "LeRobot v2"
    torn = tmp_path / "out/old-000001/manifest.json"
    torn.unlink()
    assert statuses(list(into_folder(request(source), tmp_path / "out"))) == {"already": 2, "converted": 1}
    assert torn.is_file()


def test_a_plan_says_what_happens_and_writes_nothing(tmp_path: Path) -> None:
    source = write_v3(tmp_path / "source", codec="libsvtav1")
    (source / "videos/observation.images.back/chunk-000/file-000.mp4").write_bytes(b"0000ftyp nothing")
    before = sorted(tmp_path.rglob("*"))
    found = list(planned(request(source)))
    assert [(one.status, one.code) for one in found] == [("refused", Code.DATA_TRUNCATED_VIDEO)] * 3
    assert sorted(tmp_path.rglob("*")) == before


def test_a_plan_knows_what_is_there_already(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    source, store = write_v2(tmp_path / "source"), FolderStore(tmp_path / "store")
    list(into_folder(request(source), tmp_path / "out"))
    list(into_store(request(source), store))
    (tmp_path / "out/old-000001/manifest.json").unlink()
    assert statuses(list(planned(request(source), tmp_path / "out"))) == {"already": 2, "planned": 1}
    assert statuses(list(planned(request(source), None, store))) == {"already": 3}


def test_a_folder_that_cannot_be_written_is_no_fault_of_the_source(tmp_path: Path) -> None:
    source = write_v2(tmp_path / "source")
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "out", Path("/proc/none")):
        with pytest.raises(StorageError, match="E-STORE-004"):
            into_folder(request(source), folder)


def test_one_bad_episode_stops_no_other(tmp_path: Path) -> None:
    source = write_v2(tmp_path / "source")
    (source / "data/chunk-000/episode_000001.parquet").write_bytes(b"PAR1 nonsense PAR1")
    found = list(into_folder(request(source), tmp_path / "out"))
    assert [(one.status, one.code) for one in found] == [
        ("converted", ""),
        ("refused", Code.DATA_FOREIGN),
        ("converted", ""),
    ]


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    source = write_v2(tmp_path / "source")
    video = source / "videos/chunk-000/observation.images.front/episode_000001.mp4"
    video.unlink()
    os.mkfifo(video)
    found = list(into_folder(request(source), tmp_path / "out"))
    assert [one.code for one in found] == ["", Code.DATA_MISSING_FILE, ""]


def children() -> list[int]:
    """Converting children of this process, the youngest last."""
    me = os.getpid()
    alive = map(int, Path(f"/proc/{me}/task/{me}/children").read_text().split())
    return [pid for pid in alive if b"convert_child" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.parametrize("workers", [2, 5])
def test_several_children_make_the_same_in_the_same_order(tmp_path: Path, workers: int) -> None:
    source = write_v2(tmp_path / "source")
    (source / "data/chunk-000/episode_000001.parquet").write_bytes(b"PAR1 nonsense PAR1")
    one = list(into_folder(request(source), tmp_path / "one"))
    several = list(into_folder(request(source, workers=workers), tmp_path / "several"))
    assert several == one
    assert [found.status for found in one] == ["converted", "refused", "converted"]
    assert describe_folder(tmp_path / "several") == describe_folder(tmp_path / "one")


def test_no_child_outlives_who_asked_for_it(tmp_path: Path) -> None:
    def stop_the_second(attempt: str) -> bool:
        if attempt == "old-000001":
            os.kill(children()[-1], signal.SIGSTOP)  # it would end by itself otherwise
        return False

    found = iter(Conversion(request(write_v2(tmp_path / "source"), workers=2), stop_the_second))
    assert next(found).status == "planned"
    assert children()
    found.close()  # type: ignore[attr-defined]  # it is a generator
    assert not children()


def test_a_source_that_changes_between_two_listings_is_refused(tmp_path: Path) -> None:
    """Two children that count otherwise would leave an episode out, and write another one twice."""
    source = write_v2(tmp_path / "source")
    episodes = source / "meta/episodes.jsonl"

    def change_at_second(attempt: str) -> bool:
        if attempt == "old-000001":
            episodes.write_text("".join(episodes.read_text().splitlines(keepends=True)[:2]))
            os.kill(children()[-1], signal.SIGKILL)  # the next child lists the source again
        return False

    with pytest.raises(DataError, match="changed while it was read"):
        list(Conversion(request(source), change_at_second))


def test_a_child_ends_with_who_started_it(tmp_path: Path) -> None:
    """Else it would write beside the next one that is told to convert the same."""
    script = """
import os, signal, sys
from tests.unit.data.readers.test_convert import Conversion, children, request
from pathlib import Path
def stop(attempt):
    os.kill(children()[-1], signal.SIGSTOP)
    print(children()[-1], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
list(Conversion(request(Path(sys.argv[1])), stop))
"""
    source = write_v2(tmp_path / "source")
    told = subprocess.run([sys.executable, "-c", script, str(source)], capture_output=True, text=True, check=False)
    until = time.monotonic() + 30
    while _lives(int(told.stdout)):
        assert time.monotonic() < until
        time.sleep(0.05)


def _lives(process: int) -> bool:
    """Not so of one that is dead and not yet waited for."""
    try:
        return bool(Path(f"/proc/{process}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("workers", [1, 2])
def test_a_child_that_is_killed_at_an_episode(tmp_path: Path, workers: int) -> None:
    """The child is killed while it waits to be told to go on with the second episode."""
    source = write_v2(tmp_path / "source")

    def kill_at_second(attempt: str) -> bool:
        if attempt == "old-000001":
            os.kill(children()[-1], signal.SIGKILL)
        return False

    found = list(Conversion(request(source, workers=workers), kill_at_second))
    assert [(one.status, one.code) for one in found] == [
        ("planned", ""),
        ("refused", Code.DATA_DECODER),
        ("planned", ""),
    ]
    assert "SIGKILL" in found[1].cause


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("limits", [Limits(address_space_bytes=64 << 20), Limits(open_files=3)])
def test_a_child_that_cannot_start_is_an_error_and_no_endless_loop(
    tmp_path: Path, limits: Limits, workers: int
) -> None:
    asked = request(write_v2(tmp_path / "source"), limits=limits, workers=workers)
    with pytest.raises(DataError) as caught:
        list(Conversion(asked, lambda _: False))
    assert caught.value.code == Code.DATA_DECODER


@pytest.mark.parametrize(("kind", "room"), [("table", 1000), ("encoded", 8000), ("copied", 8000), ("cut", 8000)])
def test_a_full_disk_ends_the_conversion_and_blames_no_episode(tmp_path: Path, kind: str, room: int) -> None:
    """Files that may not grow stand in for a disk that is full: noise makes videos larger than that."""
    noise = list(np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), np.uint8))
    changed, source = document(), tmp_path / "source"
    if kind == "encoded":
        source, changed = test_hdf5.write_robomimic(tmp_path / "source.hdf5", TRUTHS[:1]), test_hdf5.ROBOMIMIC
        with h5py.File(source, "r+") as file:
            file["data/demo_0/obs/front_image"][...] = np.stack(noise)
    elif kind == "cut":
        write_v3(source, TRUTHS[:2])
        encode_joined(source / "videos/observation.images.front/chunk-000/file-000.mp4", [noise, noise[:9]])
    else:
        write_v2(source, TRUTHS[:1])
        encode_joined(source / "videos/chunk-000/observation.images.front/episode_000000.mp4", [noise])
    with pytest.raises(StorageError) as caught:
        list(into_folder(request(source, changed, limits=replace(LIMITS, answer_bytes=room)), tmp_path / "out"))
    assert caught.value.code == Code.STORE_FULL
    assert not list(tmp_path.glob("out/*/manifest.json"))


def test_two_episodes_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    for ending in ("hdf5", "h5"):
        test_hdf5.write_aloha(tmp_path / f"source/a.{ending}", TRUTHS[0])
    with pytest.raises(DataError, match="two episodes of one name"):
        list(planned(request(tmp_path / "source", test_hdf5.ALOHA)))


def test_unknown_sources(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"nothing")
    for name, code in (("empty", Code.DATA_FOREIGN), ("file", Code.DATA_FOREIGN), ("gone", Code.DATA_MISSING_FILE)):
        with pytest.raises(DataError) as caught:
            list(planned(request(tmp_path / name)))
        assert caught.value.code == code
    made = into_folder(request(write_v2(tmp_path / "source")), tmp_path / "out")
    assert len(list(made)) == 3
    with pytest.raises(DataError, match="Volano's own bundles"):
        list(planned(request(tmp_path / "out")))


def volano(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["data", "convert", *arguments])


def test_the_command(tmp_path: Path) -> None:
    source = write_v2(tmp_path / "source")
    (tmp_path / "mapping.json").write_text(json.dumps(document()))
    (tmp_path / "rover.json").write_text(json.dumps(ROVER.to_json()))
    (tmp_path / "store").mkdir()
    common = (str(source), "--embodiment", str(tmp_path / "rover.json"), "--robot", "rover-01")
    mapped = (*common, "--mapping", str(tmp_path / "mapping.json"))
    planning = volano(*mapped, "--plan")
    assert planning.exit_code == 0
    assert "ego: copied byte for byte" in planning.output
    assert "3 planned" in planning.output
    done = volano(*mapped, "--output", str(tmp_path / "out"))
    assert "3 converted" in done.output
    assert "next: " in done.output
    (source / "data/chunk-000/episode_000001.parquet").unlink()
    told = volano(*mapped, "--store", str(tmp_path / "store"), "--json")
    assert told.exit_code == 1
    answer = json.loads(told.output)
    assert [one["status"] for one in answer["episodes"]] == ["converted", "refused", "converted"]
    assert answer["refused"] == 1
    assert volano(*mapped).exception.code == Code.CONFIG_VALUE
    assert volano(*common, "--mapping", str(tmp_path / "gone.json"), "--plan").exception.code == Code.CONFIG_VALUE
