"""The command answers at once, tells errors by code on standard error, and its checks check."""

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.unit.evaluate.evaluations import Outcomes, evaluation, first
from tests.unit.registry.folders import described, platform
from volano.commands.serve import is_healthy
from volano.embodiment.contract import Embodiment
from volano.embodiment.shipped import CAR, SHIPPED
from volano.inference.running import GatewayFolder, GatewayStatus
from volano.ledger.ledger import open_ledger
from volano.storage.open import open_store

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-c", "from volano.cli import main; main()"]


class Healthy(BaseHTTPRequestHandler):
    """Answers every probe."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Nothing."""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VOLANO_")}
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, env=environment)


def test_help_comes_at_once_because_nothing_heavy_is_imported() -> None:
    code = (
        "import resource, sys\nfrom volano.cli import main\n"
        "sys.argv = ['volano', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'ray', 'transformers', 'mlflow', 'pyarrow', 'numpy', 'sqlalchemy', 'cryptography'}\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(sorted(heavy & set(sys.modules)), used.ru_utime + used.ru_stime, file=sys.stderr)"
    )
    done = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    assert all(one.stderr.startswith("[] ") for one in done), done[0].stderr
    assert "robot" in done[0].stdout
    assert min(float(one.stderr.split()[-1]) for one in done) < 0.4  # seconds of processor time: others may be busy


def test_every_noun_and_verb_explains_itself() -> None:
    for noun in ("robot", "data", "policy", "eval", "audit"):
        done = run(noun, "--help")
        assert done.returncode == 0, done.stderr
        assert "Commands" in done.stdout


def test_an_error_is_a_code_a_cause_and_a_fix_with_the_exit_code_of_its_kind() -> None:
    done = run("robot", "contract", "unicorn")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("E-CONTRACT-002")
    assert "fix:" in done.stderr
    assert "Traceback" not in done.stderr
    debugged = run("--debug", "robot", "contract", "unicorn")
    assert debugged.returncode == 3
    assert "Traceback" in debugged.stderr


def test_an_evaluation_is_shown_and_judged(tmp_path: Path) -> None:
    floors: Outcomes = {"hold": {"scout": first(0, 30)}, "random": {"scout": first(9, 30)}}
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_bytes(evaluation({"policy": {"scout": first(20, 30)}, **floors}).to_bytes())
    bad.write_bytes(evaluation({"policy": {"scout": first(9, 30)}, **floors}).to_bytes())
    shown = run("eval", "show", str(good))
    assert "20/30" in shown.stdout
    assert json.loads(run("eval", "show", str(good), "--json").stdout)["successes"][0]["success"]["successes"] == 20
    passed = run("eval", "gate", str(good), "--json")
    assert (passed.returncode, json.loads(passed.stdout)["verdict"]) == (0, "pass")
    refused = run("eval", "gate", str(bad), "--current", str(good))
    assert refused.returncode == 4
    assert refused.stderr.startswith("E-GATE-001")
    missing = run("eval", "gate", str(tmp_path / "none.json"))
    assert (missing.returncode, missing.stderr[:14]) == (1, "E-EVALUATE-001")


def test_wrong_use_is_told_from_failure() -> None:
    assert run("nonsense").returncode == 2
    assert run("robot", "contract").returncode == 2


def test_contract_is_the_embodiment() -> None:
    assert Embodiment.from_json(json.loads(run("robot", "contract", "car", "--json").stdout)) == CAR
    assert json.loads(run("robot", "embodiments", "--json").stdout) == {
        tag: one.fingerprint for tag, one in SHIPPED.items()
    }


def test_counts_of_an_empty_store_are_zero(tmp_path: Path) -> None:
    counts = json.loads(run("data", "counts", "--store", str(tmp_path), "--json").stdout)
    assert counts == {"uploaded": 0, "accepted": 0, "quarantined": {}, "rejected": {}, "in_flight": 0}


def test_verify_tells_a_released_policy_from_a_changed_one_and_from_one_that_nobody_released(tmp_path: Path) -> None:
    home = platform(tmp_path, open_store(str(tmp_path / "store")), time.time())
    manifest = home.release("policy", now=time.time())
    where = ("--root", str(home.keys.anchor), "--store", str(tmp_path / "store"))
    assert (
        json.loads(run("policy", "verify", str(tmp_path / "policy"), *where, "--json").stdout)["digest"]
        == manifest.digest
    )
    (tmp_path / "policy" / "config.json").write_text("{}")
    changed = run("policy", "verify", str(tmp_path / "policy"), *where)
    assert (changed.returncode, changed.stderr[:12]) == (5, "E-POLICY-002")
    described(tmp_path / "other", bytes(24))
    strange = run("policy", "verify", str(tmp_path / "other"), *where)
    assert (strange.returncode, strange.stderr[:12]) == (5, "E-POLICY-007")


def test_audit_verify_sees_a_whole_chain_a_cut_chain_and_no_chain(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    absent = run("audit", "verify", "--ledger", url)
    assert absent.returncode == 7
    assert not (tmp_path / "ledger.db").exists()
    with open_ledger(url) as ledger:
        for number in range(3):
            last = ledger.record("test", "nobody", {"number": number}, float(number))
    found = json.loads(run("audit", "verify", "--ledger", url, "--json").stdout)
    assert found == {"rows": 3, "head": last.digest, "checkpoints": 0, "uncovered": 3}
    cut = run("audit", "verify", "--ledger", url, "--head", "f" * 64)
    assert cut.returncode == 5
    assert cut.stderr.startswith("E-LEDGER-002")


def test_a_rollout_is_looked_for_in_a_ledger_that_exists_with_a_journal_that_exists(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'mistyped.db'}"
    for verb in ("status", "replay"):
        done = run("rollout", verb, "rollout-1", "--ledger", url)
        assert (done.returncode, done.stderr[:12]) == (7, "E-LEDGER-003")
    assert list(tmp_path.iterdir()) == []
    look = ("rollout", "look", "rollout-1", "--ledger", url, "--store", str(tmp_path))
    assert run(*look, "--shadow", str(tmp_path / "mistyped.jsonl")).returncode == 2


def test_an_application_runs_wherever_the_command_is_typed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "platform")}
    command = [*COMMAND, "train", "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "python -m jobs.train" in done.stdout


def test_a_proxy_is_not_asked_for_a_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.handle_request).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert is_healthy(GatewayStatus(pid=1, url="", watch=url, looked_at=0.0, policies={}))


def test_a_gateway_that_is_starting_is_not_told_as_stopped(tmp_path: Path) -> None:
    GatewayFolder(tmp_path).occupy()
    done = run("serve", "down", "--home", str(tmp_path))
    assert (done.returncode, done.stderr[:11]) == (7, "E-SERVE-001")


def test_doctor_really_encodes_and_sees_a_store_it_cannot_write(tmp_path: Path) -> None:
    done = run("doctor", "--store", str(tmp_path / "absent"), "--json")
    by_name = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 3
    assert by_name["video"]["ok"]
    assert not by_name["store"]["ok"]
    assert by_name["store"]["fix"]
