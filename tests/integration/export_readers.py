"""The readers of other code bases, as they are: what they import, and their sources by commit.

They run in the environment of `test_lerobot.py`, with older packages laid over it. What is missing is made once, under
`.cache/peers`. A test that cannot have it skips, and says why.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_lerobot import lerobot_python

_PLACE = Path(__file__).resolve().parents[2] / ".cache" / "peers"
LEROBOT = ("lerobot==0.3.3", "datasets==3.6.0")
"""The last release whose format is v2.1, and what it reads tables with."""
PEERS = (*LEROBOT, "decord==0.6.0", "numpydantic==1.6.9", "pydantic==2.11.7", "pydantic-core==2.33.2", "scipy==1.15.3")
SOURCES = {
    "openpi": ("https://github.com/Physical-Intelligence/openpi.git", "15a9616a00943ada6c20a0f158e3adb39df2ccac"),
    "starvla": ("https://github.com/starVLA/starVLA.git", "0ed0aad2c83f587714f6167ef60cf7218b786590"),
    "gr00t": ("https://github.com/NVIDIA/Isaac-GR00T.git", "77866395d6ab601a770f95cf78cf51d5847f6fa1"),
}


def overlay(*packages: str) -> Path:
    """A folder with these packages and nothing that they ask for; skips when it cannot be made."""
    place = _PLACE / "-".join(package.replace("==", "-") for package in packages)
    if place.exists():
        return place
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    if not Path(uv).exists():
        pytest.skip("uv is not installed, so that the readers' packages cannot be had")
    arriving = place.with_name("packages.arriving")
    shutil.rmtree(arriving, ignore_errors=True)
    arriving.parent.mkdir(parents=True, exist_ok=True)
    python = str(lerobot_python())
    command = [uv, "pip", "install", "-p", python, "--no-deps", "--target", str(arriving), *packages]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        pytest.skip(f"the readers' packages cannot be had: {done.stderr[-500:]}")
    arriving.rename(place)
    return place


def source_of(peer: str) -> Path:
    """The sources of a code base at the commit that docs/formats.md names; skips when they cannot be fetched."""
    address, commit = SOURCES[peer]
    place = _PLACE / f"{peer}-{commit[:12]}"
    if place.exists():
        return place
    arriving = place.with_name(f"{place.name}.arriving")
    shutil.rmtree(arriving, ignore_errors=True)
    arriving.mkdir(parents=True)
    for command in (
        ["git", "init", "--quiet"],
        ["git", "fetch", "--quiet", "--depth", "1", address, commit],
        ["git", "checkout", "--quiet", "FETCH_HEAD"],
    ):
        environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}
        done = subprocess.run(
            command, cwd=arriving, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode != 0:
            pytest.skip(f"the sources of {peer} cannot be fetched: {done.stderr.strip()[-300:]}")
    arriving.rename(place)
    return place


def read_with(script: str, *arguments: str, home: Path, packages: tuple[str, ...], source: Path | None = None) -> Any:
    """What a script of this folder, run where it finds these packages and sources first, says it sees."""
    first = [str(overlay(*packages)), *([str(source)] if source else [])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(first),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(home),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [str(lerobot_python()), "-P", str(Path(__file__).with_name(script)), *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, (done.stdout[-1000:], done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])
