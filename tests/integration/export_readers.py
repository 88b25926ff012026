"""The readers of other code bases, as they are: an environment with what they import, and their sources by commit.

Both are made once, under `.cache/peers`. A test that cannot have them skips, and says why.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_PLACE = _ROOT / ".cache" / "peers" / "readers"
_OVERRIDES = "torch==2.13.0+cpu\ntorchvision==0.25.0\n"
_PACKAGES = (
    "torch==2.13.0+cpu",
    "torchvision==0.25.0",
    "av==15.1.0",
    "datasets==3.6.0",
    "decord==0.6.0",
    "einops==0.8.1",
    "jsonlines==4.0.0",
    "numpydantic==1.6.9",
    "opencv-python-headless==4.11.0.86",
    "pandas==2.2.3",
    "pydantic==2.11.7",
    "scipy==1.15.3",
)
_LEROBOT = "lerobot==0.3.3"
"""The last release whose format is v2.1; of what it asks for, its dataset reader imports only what stands above."""
SOURCES = {
    "openpi": ("https://github.com/Physical-Intelligence/openpi.git", "15a9616a00943ada6c20a0f158e3adb39df2ccac"),
    "starvla": ("https://github.com/starVLA/starVLA.git", "0ed0aad2c83f587714f6167ef60cf7218b786590"),
    "gr00t": ("https://github.com/NVIDIA/Isaac-GR00T.git", "77866395d6ab601a770f95cf78cf51d5847f6fa1"),
}


def readers_python() -> Path:
    """The interpreter of the environment, which is made when it is not there; skips when it cannot be."""
    python, ready = _PLACE / "bin" / "python", _PLACE / "ready"
    if ready.exists():
        return python
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    if not Path(uv).exists():
        pytest.skip("uv is not installed, so that the readers' environment cannot be made")
    shutil.rmtree(_PLACE, ignore_errors=True)
    _PLACE.parent.mkdir(parents=True, exist_ok=True)
    overrides = _PLACE.parent / "readers-overrides.txt"
    overrides.write_text(_OVERRIDES)
    links = [option for place in os.environ.get("PIP_FIND_LINKS", "").split() for option in ("--find-links", place)]
    for command in (
        [uv, "venv", "-p", "3.11", str(_PLACE)],
        [uv, "pip", "install", "-p", str(python), *links, "--override", str(overrides), *_PACKAGES],
        [uv, "pip", "install", "-p", str(python), "--no-deps", _LEROBOT],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode != 0:
            pytest.skip(f"the readers' environment cannot be made: {done.stderr[-500:]}")
    ready.touch()
    return python


def source_of(peer: str) -> Path:
    """The sources of a code base at the commit that docs/formats.md names; skips when they cannot be fetched."""
    address, commit = SOURCES[peer]
    place = _PLACE.parent / f"{peer}-{commit[:12]}"
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


def read_with(script: str, *arguments: str, home: Path, source: Path | None = None) -> Any:
    """What a script of this folder, run in the readers' environment, says it sees."""
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(home),
        "OMP_NUM_THREADS": "1",
        **({"PYTHONPATH": str(source)} if source else {}),
    }
    done = subprocess.run(
        [str(readers_python()), "-P", str(Path(__file__).with_name(script)), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, (done.stdout[-1000:], done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])
