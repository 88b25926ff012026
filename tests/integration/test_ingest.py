"""Ingest on a real local Ray: verdicts, conservation, and a process killed with -9 in the middle.

Each run of the application is a process of its own with a Ray of its own, as a user starts it.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.unit.data.bundles import Draft, claims_with, upload, write_bundle
from tests.unit.data.defects import DEFECTS
from volano.data.build import build_version
from volano.data.catalogue_rows import EPISODES
from volano.data.conservation import Counts, count
from volano.data.lerobot_read import read
from volano.data.pages import pages
from volano.data.pages import read as read_pages
from volano.data.verdict import VERDICTS, Verdict
from volano.data.version import materialize
from volano.embodiment.shipped import SCOUT, SHIPPED
from volano.errors import Code
from volano.storage.open import open_store
from volano.storage.store import ObjectStore

_ROOT = Path(__file__).resolve().parents[2]
_SPOILED = ("truncated video", "NaN action", "no language", "changed after the manifest")
_CLEAN = 140
"""With the spoiled ones three batches for two workers: one is still waiting when the first is judged."""
_SHIPPED_CONTRACTS = {robot.fingerprint: robot for robot in SHIPPED.values()}


def fill(store: ObjectStore, folder: Path) -> None:
    """Clean episodes, five copies under other names, four defects, one unreadable manifest."""
    draft = Draft(embodiment=SCOUT, robot="scout-01", frames=8)
    for seed in range(_CLEAN):
        place = folder / f"clean-{seed}"
        manifest = write_bundle(place, replace_draft(draft, seed))
        upload(store, place, claims_with(manifest, attempt=f"attempt-{seed:03d}"))
        if seed < 5:
            upload(store, place, claims_with(manifest, attempt=f"copy-{seed:03d}"))
    for number, name in enumerate(_SPOILED):
        place = folder / f"spoiled-{number}"
        manifest = DEFECTS[name][1](place, replace_draft(draft, 1000 + number))
        upload(store, place, claims_with(manifest, attempt=f"spoiled-{number}"))
    store.put_new("uploads/scout-01/zzz.json", b"{")


def replace_draft(draft: Draft, seed: int) -> Draft:
    return Draft(
        embodiment=draft.embodiment, robot=draft.robot, frames=draft.frames, seed=seed, first_number=10 * seed % 4000
    )


@contextmanager
def started(url: str, stderr: int | None = None) -> "Iterator[subprocess.Popen[bytes]]":
    """The application as a user starts it, killed at the end if it still runs."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{_ROOT / 'platform'}{os.pathsep}{_ROOT}",
        "RAY_AUTH_MODE": "disabled",
        "RAY_TMPDIR": os.environ.get("RAY_TMPDIR", "/tmp"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "pipelines.ingest", "--store", url]
    with subprocess.Popen(command, env=environment, cwd=_ROOT, start_new_session=True, stderr=stderr) as process:
        try:
            yield process
        finally:
            process.kill()


def verdicts(store: ObjectStore) -> dict[str, Verdict]:
    return {info.key: Verdict.from_bytes(store.get(info.key)) for info in store.list(VERDICTS)}


def contents(store: ObjectStore, which: str) -> Counter[str]:
    """Content identifiers by verdict: which of two equal copies owns a content may differ from run to run."""
    return Counter(one.content_id for one in verdicts(store).values() if one.verdict == which)


@pytest.mark.slow
def test_ingest_survives_kill_and_repeats_to_the_same_end(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path / 'store'}")
    fill(store, tmp_path)
    calm = open_store(f"file://{tmp_path / 'calm'}")
    fill(calm, tmp_path / "again")
    with started(store.url) as killed:
        wait_for_verdicts(store, killed, at_least=3)
        for one in [*psutil.Process(killed.pid).children(recursive=True), psutil.Process(killed.pid)]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        killed.wait(timeout=60)
    interrupted = verdicts(store)
    assert 3 <= len(interrupted) < _CLEAN + 10, "the kill came too late to prove anything"
    assert count(store).in_flight > 0

    for url in (store.url, calm.url):
        with started(url) as process:
            assert process.wait(timeout=300) == 0

    expected = Counts(
        uploaded=_CLEAN + 10,
        accepted=_CLEAN,
        quarantined={
            str(code): number for code, number in sorted(Counter(DEFECTS[name][0] for name in _SPOILED).items())
        },
        rejected={Code.DATA_DUPLICATE: 5, Code.DATA_MANIFEST: 1},
        in_flight=0,
    )
    assert count(store) == expected
    assert count(calm) == expected
    rows = [one for some in read_pages(store, EPISODES, pages(store, EPISODES)) for one in some["upload"].to_pylist()]
    assert sorted(rows) == sorted(one.upload for one in verdicts(store).values()), "the catalogue has each verdict once"
    assert interrupted.items() <= verdicts(store).items(), "a verdict changed after the kill"
    for which in ("accepted", "quarantined", "rejected"):
        assert contents(store, which) == contents(calm, which)

    first = build_version(store, parent="", reason="test", select=lambda _: 1.0, known=_SHIPPED_CONTRACTS)
    assert build_version(store, parent="", reason="test", select=lambda _: 1.0, known=_SHIPPED_CONTRACTS) == first
    other = build_version(calm, parent="", reason="test", select=lambda _: 1.0, known=_SHIPPED_CONTRACTS)
    assert other.episodes == first.episodes  # which of two equal copies owns a content may differ between stores
    materialize(store, first.id, tmp_path / "version")
    assert sum(1 for _ in read(tmp_path / "version" / SCOUT.tag)) == _CLEAN


def wait_for_verdicts(store: ObjectStore, process: "subprocess.Popen[bytes]", *, at_least: int) -> None:
    deadline = time.monotonic() + 240
    while len(list(store.list(VERDICTS))) < at_least:
        assert process.poll() is None, "the application ended before it was killed"
        assert time.monotonic() < deadline, "no verdict in time"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_store_that_fails_meanwhile_ends_ingest_with_its_code_and_the_next_one_goes_on(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path / 'store'}")
    for number in range(3):
        place = tmp_path / f"clean-{number}"
        manifest = write_bundle(place, replace_draft(Draft(embodiment=SCOUT, robot="scout-01", frames=8), number))
        upload(store, place, claims_with(manifest, attempt=f"attempt-{number}"))
    claims = tmp_path / "store" / "episodes"
    claims.write_bytes(b"in the way")
    with started(store.url, stderr=subprocess.PIPE) as failed:
        _, said = failed.communicate(timeout=300)
    assert failed.returncode == 7
    assert b"E-STORE-" in said
    assert b"Traceback" not in said
    assert count(store).in_flight == 3
    claims.unlink()
    with started(store.url) as process:
        assert process.wait(timeout=300) == 0
    assert (count(store).accepted, count(store).in_flight) == (3, 0)
