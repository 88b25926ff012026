"""Readers of peers, each in a process of its own environment, over the very files that ours reads.

`make bench-peers` makes the environment; it is never a dependency. A reader that cannot be had here is Missing.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from benchmarks.report import Missing

PEERS = Path(".cache/venv-readers")

Kind = Literal["lerobot", "stream", "lance"]
NAMES: dict[Kind, str] = {
    "lerobot": "LeRobot 0.4.4 with torchcodec 0.13",
    "stream": "LeRobot 0.4.4's streaming, from a local folder",
    "lance": "Lance in LeRobot (lerobot-lancedb 0.3.1)",
}


class Reader:
    """A running one."""

    def __init__(self, peers: Path, kind: Kind, dataset: Path, batch: int) -> None:
        """Over a folder of one LeRobot dataset; raises Missing."""
        python = peers.absolute() / "bin" / "python"
        if not python.is_file():
            raise Missing(f"there is no environment of readers at {peers}: make bench-peers makes one")
        libraries = [peers.absolute() / "ffmpeg", *peers.absolute().glob("lib/python*/site-packages/av.libs")]
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._kind = kind
        self._process = subprocess.Popen(
            [str(python), "-P", str(Path(__file__).with_name("reader_worker.py")), kind, str(dataset), str(batch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={
                **clean,
                "HF_HUB_OFFLINE": "1",
                "HF_HOME": str(dataset.parent.with_name(f"{kind}-home")),  # not in the version: its files are counted
                "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
            },
        )
        self._answer()

    def rate(self, samples: int) -> float:
        """Samples per CPU-second of so many; raises SystemExit for a wrong frame: it has no score then."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{samples}\n")
        self._process.stdin.flush()
        found = self._answer()
        if found["wrong"]:
            raise SystemExit(f"{NAMES[self._kind]}: {found['wrong']} wrong frames")
        return found["samples"] / found["seconds"]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(">"):
                found: dict[str, float] = json.loads(line[1:])
                return found
        raise Missing(f"{NAMES[self._kind]} does not run here")


@contextmanager
def reading(peers: Path, kind: Kind, dataset: Path, batch: int) -> Iterator[Reader | str]:
    """A reader, ended afterwards, or why there is none."""
    try:
        reader = Reader(peers, kind, dataset, batch)
    except Missing as missing:
        yield str(missing)
        return
    try:
        yield reader
    finally:
        reader.close()
