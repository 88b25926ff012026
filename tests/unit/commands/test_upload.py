"""The verb that empties a robot's disk says what it would do, what it did and what to do next, bundle by bundle."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.data.heavy import heavy
from volano.cli import app
from volano.data.bundle import UPLOADED_FILE
from volano.data.upload import pending
from volano.errors import ConfigError
from volano.storage.open import open_store

SIZES = {"steps.parquet": 300, "camera.ego.mp4": 700}


def volano(*arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == status, done.output
    return done.output


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A robot's folder with two finished attempts and a torn one."""
    for seed, attempt in enumerate(("one", "two")):
        heavy(tmp_path / "disk", attempt, sizes=SIZES, seed=seed)
    (tmp_path / "disk" / "torn").mkdir()
    return tmp_path / "disk"


def test_a_plan_says_what_is_sent_then(disk: Path, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    said = volano("data", "upload", str(disk), "--to", store, "--plan")
    assert "one: to send  2 files, 1000 bytes" in said
    assert f"2 to send: {disk} to {store}" in said
    assert f"next: volano data upload {disk} --to {store}" in said
    assert not Path(store).exists()
    assert len(pending(disk)) == 2
    said = volano("data", "upload", str(disk), "--to", store)
    assert "one: sent  uploads/rover-01/one.json" in said
    assert "next: on the platform, volano data ingest" in said
    assert [info.key for info in open_store(store).list("uploads/")] == [
        "uploads/rover-01/one.json",
        "uploads/rover-01/two.json",
    ]
    assert f"nothing to send: {disk} to {store}" in volano("data", "upload", str(disk), "--to", store)


def test_one_that_fails_does_not_stop_the_others(disk: Path, tmp_path: Path) -> None:
    (disk / "one" / "steps.parquet").write_bytes(b"damaged")
    said = json.loads(volano("data", "upload", str(disk), "--to", str(tmp_path / "store"), "--json", status=1))
    assert [(one["attempt"], one["status"]) for one in said] == [("one", "E-DATA-006"), ("two", "sent")]
    assert not (disk / "one" / UPLOADED_FILE).exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--to", "STORE", "--remove"),
        ("--to", "https://platform:8701"),
        ("--to", "https://user:hunter2@platform:8701", "--plan"),
        ("--to", "https://platform:8701", "--trust", "receipt.pub"),
        ("--to", "https://platform:8701", "--key", "absent.key", "--trust", "receipt.pub"),
    ],
)
def test_what_cannot_end_in_a_receipt_is_refused(disk: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        volano("data", "upload", str(disk), *arguments)
    assert "hunter2" not in str(caught.value)
    assert len(pending(disk)) == 2


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        volano("data", "upload", str(tmp_path / "none"), "--to", str(tmp_path / "store"))
