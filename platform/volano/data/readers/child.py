"""A converting child and the lines between it and this side; none of its lines is to be trusted."""

import json
import os
import selectors
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from volano.data.readers.mapping import Mapping
from volano.data.sandbox import Limits
from volano.embodiment.contract import Embodiment

_CHILD = "volano.data.readers.convert_child"
LIMITS = Limits(address_space_bytes=4 << 30, cpu_s=1800, wall_s=3600, open_files=256, answer_bytes=8 << 30)
"""Per episode; `answer_bytes` bounds every file that the child writes."""
_MAX_LINE = 1 << 20
_GRACE_S = 10
"""How much longer than the child's own clock this side waits."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to convert into what."""

    source: Path
    embodiment: Embodiment
    mapping: Mapping
    mapping_text: str
    """The document that `mapping` was parsed from; the child parses it again."""
    robot: str
    output: Path | None = None
    """The folder for the bundles; None to plan only, which writes nothing."""
    durable: bool = True
    """Each bundle is on the disk before it is told of; else it is only written, for whoever sends it on at once."""
    workers: int = 1
    """Children at most, which take turns with the episodes; at least one."""
    limits: Limits = LIMITS


class Child:
    """One child, from its start to its end. It lists the source by itself, and waits to be told which episodes are its
    own."""

    def __init__(self, request: Request) -> None:
        self._wait_s = request.limits.wall_s + _GRACE_S
        self._process = subprocess.Popen(
            [sys.executable, "-s", "-B", "-m", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            cwd="/",
        )
        self._buffer = b""
        self._opening: list[dict[str, Any] | None] = []
        self.say(json.dumps(_as_json(request)))

    def say(self, line: str) -> None:
        """Send a line; a child that is gone hears nothing, which its next line shows."""
        with suppress(BrokenPipeError):
            _pipe(self._process.stdin).write(line.encode() + b"\n")
            _pipe(self._process.stdin).flush()

    def opening(self) -> dict[str, Any] | None:
        """Its first line, however often it is asked for."""
        if not self._opening:
            self._opening.append(self.line())
        return self._opening[0]

    def line(self) -> dict[str, Any] | None:
        """Its next line; None when it ended, hangs or talks nonsense."""
        output = _pipe(self._process.stdout)
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if len(self._buffer) > _MAX_LINE or not selector.select(self._wait_s):
                    self._process.kill()
                    return None
                piece = os.read(output.fileno(), 1 << 16)
                if not piece:
                    return None
                self._buffer += piece
        text, self._buffer = self._buffer.split(b"\n", 1)
        try:
            told = json.loads(text)
        except (ValueError, RecursionError):
            told = None
        return told if isinstance(told, dict) else None

    def status(self) -> str:
        """How it ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_GRACE_S)
        self._process.kill()
        code = self._process.wait()
        return signal.Signals(-code).name if code < 0 else f"status {code}"

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):
                _pipe(pipe).close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _as_json(request: Request) -> dict[str, Any]:
    return {
        "limits": asdict(request.limits),
        "source": str(request.source.resolve()),
        "mapping": request.mapping_text,
        "embodiment": request.embodiment.to_json(),
        "robot": request.robot,
        "output": str(request.output.resolve()) if request.output else "",
        "durable": request.durable,
    }


def _environment() -> dict[str, str]:
    search_path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if os.path.exists(entry))
    quiet = {"HDF5_PLUGIN_PRELOAD": "::", "HDF5_USE_FILE_LOCKING": "FALSE"}
    return {
        "PYTHONPATH": search_path,
        "OMP_NUM_THREADS": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "LANG": "C.UTF-8",
        **quiet,
    }
