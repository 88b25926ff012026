"""Hostile files, names and URLs on the command line: a code, no traceback, no secret, nothing a terminal obeys."""

import json
from pathlib import Path

import pytest

from tests.unit.test_cli import run


@pytest.mark.parametrize(
    "arguments",
    [
        ["rollout", "status", "x", "--ledger", "sqlite://user:hunter2@/x"],
        ["rollout", "status", "x", "--ledger", "postgresql://user:hunter2@host/db"],
        ["audit", "verify", "--ledger", "postgresql://user:hunter2@host/db"],
        ["data", "counts", "--store", "s3://user:hunter2@bucket"],
        ["data", "counts", "--store", "s3://bucket?endpoint=http://user:hunter2@host"],
        ["data", "counts", "--store", "ftp://user:hunter2@host"],
        ["rollout", "status", "\udcff"],
        ["rollout", "status", "\x1b[2J'; DROP TABLE robots; --"],
        ["robot", "contract", "\x1b]0;owned\x07"],
        ["rollout", "start", "deep.json"],
        ["rollout", "start", "twice.json"],
        ["eval", "show", "deep.json"],
        ["eval", "show", "escape.json"],
    ],
)
def test_it_is_refused_with_a_code(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 200_000)
    (tmp_path / "twice.json").write_text('{"id": "a", "id": "b"}')
    robots = {"\x1b[2J": {"family": "navigation", "fingerprint": "f"}}
    empty = {"schema": "volano.evaluation.1", "policy": "p", "pool": "gate", "chunks": "", "results": {}}
    (tmp_path / "escape.json").write_text(
        json.dumps({**empty, "robots": robots}, sort_keys=True, separators=(",", ":"))
    )
    ledger = ["--ledger", f"sqlite:///{tmp_path}/ledger.db"]
    needed = ledger if arguments[0] == "rollout" and "--ledger" not in arguments else []
    done = run(*(str(tmp_path / one) if one.endswith(".json") else one for one in arguments), *needed)
    assert done.stderr.startswith("E-"), done.stderr
    assert done.returncode in {1, 3, 7}
    assert "hunter2" not in done.stdout + done.stderr
    assert (done.stdout + done.stderr).replace("\n", "").isprintable()
