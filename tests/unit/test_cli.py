"""The command answers at once, tells errors by code, and its checks check."""

import json
import os
import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-c", "from volano.cli import main; main()"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, env=os.environ.copy())


def test_help_imports_neither_torch_nor_ray() -> None:
    code = (
        "import sys\nfrom volano.cli import main\nsys.argv = ['volano', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'ray', 'transformers', 'mlflow', 'pyarrow'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "robot" in done.stdout


def test_an_unknown_robot_is_a_coded_error_with_its_exit_code() -> None:
    done = run("robot", "contract", "unicorn")
    assert done.returncode == 3
    assert "E-CONTRACT-002" in done.stderr
    assert "fix:" in done.stderr
    assert "Traceback" not in done.stderr


def test_contract_is_the_embodiment() -> None:
    from volano.embodiment.contract import Embodiment
    from volano.embodiment.shipped import CAR

    assert Embodiment.from_json(json.loads(run("robot", "contract", "car").stdout)) == CAR


def test_counts_of_an_empty_store_are_zero(tmp_path: Path) -> None:
    counts = json.loads(run("data", "counts", "--store", str(tmp_path), "--json").stdout)
    assert counts["uploaded"] == 0


def test_doctor_sees_a_store_it_cannot_write(tmp_path: Path) -> None:
    findings = json.loads(run("doctor", "--folder", str(tmp_path / "absent"), "--json").stdout)
    by_name = {finding["name"]: finding for finding in findings}
    assert by_name["video"]["ok"]
    assert not by_name["store"]["ok"]
    assert by_name["store"]["fix"]
