"""What a command proposes can be pasted into a shell, and what it cannot do has a code."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.unit.test_cli import COMMAND
from volano.commands.terminal import LEDGER, STORE, places, require_store
from volano.errors import StorageError


def test_proposed_places_are_what_a_shell_reads_again() -> None:
    store, ledger = "s3://fleet/a?endpoint=http://host:9000&region=x", "sqlite:///my folder/$HOME.db"
    said = places(store=store, ledger=ledger)
    assert shlex.split(said) == ["--store", store, "--ledger", ledger]
    assert "'s3://" in said, "zsh takes a bare question mark for a pattern"
    assert places(store=STORE, ledger=LEDGER) == ""


def test_a_password_is_not_proposed() -> None:
    assert places(ledger="postgresql://volano:secret@host/ledger") == ""


def test_a_store_without_a_name_is_not_the_folder_one_is_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("", " "):
        with pytest.raises(StorageError, match="E-STORE-004"):
            require_store(name)


def test_an_error_is_a_document_where_documents_were_asked_for(tmp_path: Path) -> None:
    asked = [*COMMAND, "data", "counts", "--store", str(tmp_path / "\x1b[2Jnone")]
    plain, document = (
        subprocess.run([*asked, *extra], capture_output=True, text=True, check=False) for extra in ([], ["--json"])
    )
    told = json.loads(document.stderr)
    assert sorted(told) == ["cause", "code", "fix"]
    assert plain.stderr.startswith(f"{told['code']}  there is no store at")
    assert "\x1b" not in plain.stderr + document.stderr
    assert (plain.returncode, document.returncode, document.stdout) == (7, 7, "")


def test_a_full_disk_under_the_output_has_a_code() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, "version"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.stderr[:11], done.returncode) == ("E-STORE-003", 7)
