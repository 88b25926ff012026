"""A training's output becomes a policy that can be vouched for: by its configuration, its evaluation and its parent."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.unit.commands.test_upload import volano
from tests.unit.evaluate.evaluations import evaluation
from tests.unit.registry.folders import exported
from volano.cluster import ROOT
from volano.errors import Code, PolicyError
from volano.model.files import STATISTICS, TOKENIZER, content_digest
from volano.registry.describe import code_revision
from volano.registry.manifest import MANIFEST
from volano.registry.release import check_folder
from volano.train.layout import TRAINED

VERSION, OTHER = "a" * 64, "b" * 64


def trained(folder: Path, parent: Path | None = None) -> Path:
    """What a training of two stages leaves, one of which drew from another version as well."""
    exported(folder)
    for name in (TOKENIZER, STATISTICS):
        (folder / name).write_text("{}")
    stages = [{"mixture": {"episodes": 1.0}}, {"mixture": {"episodes": 0.5, f"version:{OTHER}": 0.5}}]
    request = {"version": VERSION, "parent": str(parent) if parent else None}
    plain = {"config": {"stages": stages}, "config_digest": "c" * 64, "request": request}
    (folder / TRAINED).write_text(json.dumps(plain))
    return folder


def test_a_trained_policy_says_where_it_came_from(tmp_path: Path) -> None:
    folder, report = trained(tmp_path / "policy"), tmp_path / "evaluation.json"
    found = evaluation({"policy": {"car": [True]}}, policy=content_digest(folder))
    report.write_bytes(found.to_bytes())
    said = volano("policy", "describe", str(folder), "--evaluation", str(report))
    manifest = check_folder(folder)
    assert f"described: {manifest.digest}" in said
    assert f"next: volano policy release {folder}" in said
    lineage = manifest.lineage
    assert (lineage.dataset_versions, lineage.config_digest) == ((VERSION, OTHER), "c" * 64)
    assert (lineage.evaluation, lineage.parent) == (found.digest, "")
    assert volano("policy", "describe", str(folder), "--evaluation", str(report)) == said
    with pytest.raises(PolicyError, match="described as another policy"):
        volano("policy", "describe", str(folder))


def test_one_that_went_on_names_its_parent(tmp_path: Path) -> None:
    parent = trained(tmp_path / "parent")
    child = trained(tmp_path / "child", parent)
    with pytest.raises(PolicyError, match="nobody described"):
        volano("policy", "describe", str(child))
    volano("policy", "describe", str(parent))
    assert "not evaluated" in volano("policy", "describe", str(child))
    assert check_folder(child).lineage.parent == check_folder(parent).digest
    moved = parent.rename(tmp_path / "elsewhere")
    (child / MANIFEST).unlink()
    with pytest.raises(PolicyError, match="nobody described"):
        volano("policy", "describe", str(child))
    volano("policy", "describe", str(child), "--parent", str(moved), "--code", "v1.2")
    lineage = check_folder(child).lineage
    assert (lineage.parent, lineage.code_revision) == (check_folder(moved).digest, "v1.2")


def test_an_evaluation_of_another_policy_describes_nothing(tmp_path: Path) -> None:
    folder, report = trained(tmp_path / "policy"), tmp_path / "evaluation.json"
    report.write_bytes(evaluation({"policy": {"car": [True]}}, policy="d" * 64).to_bytes())
    with pytest.raises(PolicyError, match="not the policy that was evaluated") as refused:
        volano("policy", "describe", str(folder), "--evaluation", str(report))
    assert refused.value.code is Code.POLICY_TAMPERED
    assert not (folder / MANIFEST).exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"config": {"stages": 1}}', "\xff", "[" * 100_000])
def test_a_folder_of_no_training_is_refused(tmp_path: Path, text: str) -> None:
    folder = trained(tmp_path / "policy")
    (folder / TRAINED).write_text(text)
    with pytest.raises(PolicyError) as refused:
        volano("policy", "describe", str(folder))
    assert refused.value.code is Code.POLICY_FORMAT
    assert not (folder / MANIFEST).exists()


def test_what_is_missing_is_said_with_the_way_to_it(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="there is no folder") as refused:
        volano("policy", "describe", str(tmp_path / "nope"))
    with pytest.raises(PolicyError, match="there is no folder"):
        check_folder(tmp_path / "nope")
    folder = trained(tmp_path / "policy")
    with pytest.raises(PolicyError, match=f"has no {MANIFEST}") as refused:
        check_folder(folder)
    assert refused.value.fix == f"volano policy describe {folder}"


def test_without_git_the_code_s_revision_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_revision(tmp_path) == "unknown"


def test_a_folder_inside_somebody_else_s_repository_has_no_revision_of_its_own() -> None:
    assert len(code_revision(ROOT)) >= 40
    assert code_revision(ROOT / "platform") == "unknown"


def test_a_changed_tree_is_not_passed_off_as_its_commit(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *who, "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-m", "one")
    clean = code_revision(tmp_path)
    assert len(clean) == 40
    (tmp_path / "file").write_text("two")
    assert code_revision(tmp_path) == f"{clean}-dirty"
