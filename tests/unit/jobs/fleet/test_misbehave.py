"""Spoiled bundles agree with their manifests, and each fails the check it is meant for."""

from pathlib import Path

import pytest

from jobs.fleet.misbehave import spoil
from jobs.fleet.plan import Defect
from tests.unit.data.bundles import ROVER
from tests.unit.data.recording import record
from volano.data.bundle import MANIFEST_FILE, read_manifest
from volano.data.validate import check_bundle, check_files
from volano.errors import Code


@pytest.mark.parametrize(("defect", "code"), [("truncate", Code.DATA_TRUNCATED_VIDEO), ("nan", Code.DATA_NOT_FINITE)])
def test_damage_is_found_behind_right_hashes(tmp_path: Path, defect: Defect, code: Code) -> None:
    sound, twin = record(tmp_path / "bundles"), tmp_path / "spoiled" / "attempt-0001"
    spoil(sound, twin, defect)
    manifest = read_manifest(twin)
    assert check_files(twin, manifest) is None
    finding = check_bundle(twin, manifest, ROVER)
    assert finding is not None
    assert finding.code == code
    assert check_bundle(sound, read_manifest(sound), ROVER) is None, "the sound bundle was touched"


def test_a_bundle_sent_twice_is_the_same_content_under_another_name(tmp_path: Path) -> None:
    sound, twin = record(tmp_path / "bundles"), tmp_path / "spoiled" / "attempt-0001-again"
    spoil(sound, twin, "resend")
    first, second = read_manifest(sound), read_manifest(twin)
    assert second.attempt == "attempt-0001-again"
    assert second.content_id == first.content_id
    assert check_bundle(twin, second, ROVER) is None


def test_a_torn_twin_is_made_again_and_a_finished_one_kept(tmp_path: Path) -> None:
    sound, twin = record(tmp_path / "bundles"), tmp_path / "spoiled" / "attempt-0001"
    spoil(sound, twin, "nan")
    whole = (twin / MANIFEST_FILE).read_bytes()
    (twin / MANIFEST_FILE).unlink()
    (twin / "steps.parquet").write_bytes(b"torn")
    spoil(sound, twin, "nan")
    assert (twin / MANIFEST_FILE).read_bytes() == whole
    inode = (twin / MANIFEST_FILE).stat().st_ino
    spoil(sound, twin, "nan")
    assert (twin / MANIFEST_FILE).stat().st_ino == inode
