"""Sixteen committers of versions and claims at once, and readers that look meanwhile."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

from tests.unit.data.bundles import ROVER
from volano.data.verdict import claim, owner
from volano.data.version import DatasetVersion, EpisodeReference, commit, describe_folder, listed, materialize
from volano.storage.content import sha256_bytes
from volano.storage.store import ObjectStore

COMMITTERS = 16
_CLAIMS, _READERS = 8, 2


def check_concurrent_committers(open_one: Callable[[], ObjectStore], tmp_path: Path) -> None:
    """None is lost or won twice, and whatever version a reader sees is whole; `open_one` gives each its store."""
    barrier, done = Barrier(COMMITTERS + _READERS), Event()
    contents = [sha256_bytes(str(number).encode()) for number in range(_CLAIMS)]

    def committer(number: int) -> tuple[list[str], list[str]]:
        """The versions that it committed, and who owns each content by what it was told."""
        store = open_one()
        own, shared = (_version(tmp_path / f"{number}-{name}", name) for name in (f"version {number}", "shared"))
        barrier.wait()
        order = contents[number % _CLAIMS :] + contents[: number % _CLAIMS]
        told = {content: claim(store, content, f"uploads/robot/{number}.json") for content in order}
        versions = [commit(store, folder, version) for folder, version in (own, shared)]
        return versions, [told[content] for content in contents]

    def reader(number: int) -> int:
        """How many versions it read whole; one that is not raises."""
        store, read = open_one(), set()
        barrier.wait()
        while True:
            last = done.is_set()
            for version in listed(store):
                if version.id not in read:
                    materialize(store, version.id, tmp_path / f"reader-{number}" / version.id)
                    read.add(version.id)
            if last:
                return len(read)

    with ThreadPoolExecutor(COMMITTERS + _READERS) as pool:
        readers = [pool.submit(reader, number) for number in range(_READERS)]
        try:
            committed = list(pool.map(committer, range(COMMITTERS)))
        finally:
            done.set()
        assert [one.result() for one in readers] == [COMMITTERS + 1] * _READERS
    store = open_one()
    assert {version.id for version in listed(store)} == {version for versions, _ in committed for version in versions}
    owners = [owner(store, content) for content in contents]
    assert all(told == owners for _, told in committed), "two were told that they own one content"


def _version(folder: Path, name: str) -> tuple[Path, DatasetVersion]:
    for file in ("table.parquet", "video.mp4"):
        (folder / "rover").mkdir(parents=True, exist_ok=True)
        (folder / "rover" / file).write_bytes(f"{name} {file}".encode() * 3000)
    reference = EpisodeReference(content_id=sha256_bytes(name.encode()), embodiment=ROVER.fingerprint, weight=1.0)
    version = DatasetVersion(
        parent="",
        reason=name,
        episodes=(reference,),
        embodiments={ROVER.tag: ROVER},
        files=describe_folder(folder),
    )
    return folder, version
