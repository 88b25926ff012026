"""Other projects as they are: environments, packages and sources of theirs, each made once, apart from our own.

They stand in `.cache/peers`, or in the folder that `VOLANO_PEERS` names: whoever has a copy of a peer's sources puts it
there, under `<peer>-<first 12 digits of the commit>`. Nothing of Volano needs any of them. What cannot be had raises
`Unavailable`, by which a test skips and a benchmark says why a row is empty. `python -m tests.peers NAME` makes one.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

PLACE = Path(os.environ.get("VOLANO_PEERS") or Path(__file__).resolve().parents[1] / ".cache" / "peers")
_Arguments = ParamSpec("_Arguments")
_Made = TypeVar("_Made")


class Unavailable(Exception):
    """Something of a peer's that cannot be had here; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What is installed for a peer."""

    packages: tuple[str, ...]
    alone: tuple[str, ...] = ()
    """Taken without what they ask for."""
    overrides: tuple[str, ...] = ()
    """Versions that count whatever a package asks for."""


ENVIRONMENTS: Mapping[str, Environment] = {
    "lerobot": Environment(packages=("lerobot[async]==0.4.4",), overrides=("torch==2.13.0+cpu", "torchvision==0.25.0")),
    "openpi": Environment(packages=("openpi-client==0.1.2", "numpy<2", "typing-extensions")),
    "stock": Environment(
        packages=("anyio>=4", "msgpack>=1.1.1", "numpy>=2.3", "pillow>=11", "typing-extensions", "websockets>=15"),
        alone=("vla-eval==0.8.0", "msgpack-numpy==0.4.8"),
    ),
    "gr00t-clients": Environment(
        packages=("numpy>=2", "pyzmq", "msgpack", "msgpack-numpy==0.4.8", "json-numpy==2.1.1", "requests")
    ),
}
"""openpi's client needs NumPy 1 and imports typing-extensions without asking for it; RoboArena's needs NumPy 2.3."""


def python_of(name: str) -> Path:
    """The interpreter of an environment, which is made when it is not there; raises Unavailable."""
    wanted, place = ENVIRONMENTS[name], PLACE / name
    python = place / "bin" / "python"
    ready = place / f"ready-{hashlib.sha256(repr(wanted).encode()).hexdigest()[:12]}"
    if ready.exists():
        return python
    shutil.rmtree(place, ignore_errors=True)
    PLACE.mkdir(parents=True, exist_ok=True)
    _run([_uv(), "venv", "-p", "3.11", str(place)], name)
    overrides = place / "overrides.txt"
    overrides.write_text("".join(f"{line}\n" for line in wanted.overrides))
    options = [option for folder in os.environ.get("PIP_FIND_LINKS", "").split() for option in ("--find-links", folder)]
    install = [_uv(), "pip", "install", "-p", str(python), *options]
    _run([*install, "--override", str(overrides), *wanted.packages], name)
    if wanted.alone:
        _run([*install, "--no-deps", *wanted.alone], name)
    ready.touch()
    return python


def overlay(environment: str, *packages: str) -> Path:
    """A folder with these packages and nothing that they ask for, to lay over an environment; raises Unavailable."""
    place = PLACE / "-".join(package.replace("==", "-") for package in packages)
    if place.exists():
        return place
    arriving = place.with_name("packages.arriving")
    shutil.rmtree(arriving, ignore_errors=True)
    arriving.parent.mkdir(parents=True, exist_ok=True)
    python = str(python_of(environment))
    _run([_uv(), "pip", "install", "-p", python, "--no-deps", "--target", str(arriving), *packages], "its packages")
    arriving.rename(place)
    return place


def source_of(peer: str, address: str, commit: str, paths: Sequence[str] = ()) -> Path:
    """The sources of a peer at a commit, all or those at these paths; raises Unavailable."""
    place = PLACE / f"{peer}-{commit[:12]}"
    if place.exists():
        return place
    arriving = place.with_name(f"{place.name}.arriving")
    shutil.rmtree(arriving, ignore_errors=True)
    arriving.mkdir(parents=True)
    part = ["--filter=blob:none"] if paths else []
    for command in (
        ["git", "init", "--quiet"],
        ["git", "remote", "add", "origin", address],
        ["git", "fetch", "--quiet", "--depth", "1", *part, "origin", commit],
        ["git", "checkout", "--quiet", "FETCH_HEAD", *(["--", *paths] if paths else [])],
    ):
        _run(command, peer, arriving)
    arriving.rename(place)
    return place


def or_skip(make: Callable[_Arguments, _Made], *arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Made:
    """What `make` returns; skips the test when a peer cannot be had."""
    try:
        return make(*arguments, **named)
    except Unavailable as error:
        pytest.skip(str(error))


def _uv() -> str:
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    if not Path(uv).exists():
        raise Unavailable("uv is not installed, so that a peer's environment cannot be made")
    return uv


def _run(command: Sequence[str], what: str, folder: Path | None = None) -> None:
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{what} cannot be had: {command[0]} took more than {error.timeout:.0f} s") from error
    if done.returncode != 0:
        raise Unavailable(f"{what} cannot be had: {done.stderr.strip()[-500:]}")


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        sys.stdout.write(f"{python_of(wanted)}\n")
