"""What a rehearsal takes over from the folders that it is given."""

import shutil
from pathlib import Path

import pytest

from jobs.rehearse import described
from tests.unit.model.tiny import tiny_policy
from volano.model.folder import save
from volano.registry.manifest import MANIFEST, Lineage, write_manifest
from volano.registry.release import check_folder


def test_a_copy_killed_between_manifest_and_weights_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, copy = tmp_path / "policy", tmp_path / "copies" / "one"
    folder.mkdir()
    copy.parent.mkdir()
    save(tiny_policy(0), folder)
    manifest = write_manifest(folder, Lineage(dataset_versions=(), config_digest="c" * 64, code_revision="r1"))

    def killed(source: Path, target: Path) -> None:
        target.mkdir()
        shutil.copy(source / MANIFEST, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(shutil, "copytree", killed)
        with pytest.raises(KeyboardInterrupt):
            described(folder, copy)
    for _ in range(2):
        assert check_folder(described(folder, copy)) == manifest
    assert [path.name for path in copy.parent.iterdir()] == ["one"]
