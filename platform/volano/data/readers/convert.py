"""Converting a foreign source into bundles: the child reads and writes, this side decides, counts and passes on.

Foreign bytes are decoded in child processes with limits (`volano.data.readers.convert_child`). When one dies, the
episode it was at is refused (E-DATA-012) and a new child goes on behind it. What is there already is left alone, so
running again continues; nothing of the source is ever written to.
"""

import json
import os
import re
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

from volano.data.finding import Finding
from volano.data.readers.mapping import Mapping
from volano.data.sandbox import Limits
from volano.embodiment.contract import Embodiment
from volano.errors import Code, DataError, StorageError, SystemMissingError, VolanoError

_CHILD = "volano.data.readers.convert_child"
LIMITS = Limits(address_space_bytes=4 << 30, cpu_s=1800, wall_s=3600, open_files=256, answer_bytes=8 << 30)
"""Per episode; `answer_bytes` bounds every file that the child writes."""
_ATTEMPT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_MAX_LINE = 1 << 20
_GRACE_S = 10
"""How much longer than the child's own clock this side waits."""
Status = Literal["planned", "converted", "already", "refused"]


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
    workers: int = 1
    """Children, which take turns with the episodes; at least one."""
    limits: Limits = LIMITS


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What became, or would become, of one episode."""

    attempt: str
    source: str
    status: Status
    plan: dict[str, Any]
    """`frames`, `instruction`, `notes`, and `cameras`: name to `treatment`, `reason` and `size`, as in
    `plan.EpisodePlan`; empty when refused or already there."""
    code: str = ""
    cause: str = ""
    fix: str = ""


class Conversion:
    """One pass over a source. Iterate over it; `format` is known from the first episode on."""

    def __init__(self, request: Request, is_there: Callable[[str], bool]) -> None:
        """`is_there` says of an attempt whether it was converted before. Raises DataError(E-DATA-081) when the mapping
        does not fit the embodiment, E-DATA-015 for a robot's name that is none."""
        request.mapping.require_fits(request.embodiment)
        if not _ATTEMPT.fullmatch(request.robot):
            raise DataError(
                Code.DATA_ROBOT, f"robot {request.robot!r:.80} is not a plain name", "use letters, digits, - _ ."
            )
        self._request = request
        self._is_there = is_there
        self.format = ""

    def __iter__(self) -> Iterator[Converted]:
        """Every episode in the source's order, each written when it is yielded. Raises DataError when the source as a
        whole cannot be read, SystemMissingError(E-SYSTEM-001) when the format's packages are missing, StorageError
        when the disk is full: what was converted by then stays."""
        strands = [_Strand(self._strand(number)) for number in range(self._request.workers)]
        try:
            for strand in strands:
                strand.go_on()
            for strand in cycle(strands):
                one = strand.result()
                if one is None:
                    return
                strand.go_on()  # the child works while this one is passed on
                yield one
        finally:
            for strand in strands:
                strand.end()

    def _strand(self, first: int) -> "_Steps":
        """The work of one child, or of several after each other: every so many-th episode from this one on."""
        place, step = first, self._request.workers
        while True:
            before = place
            with _Child(self._request, place) as child:
                total = self._opened(child)
                while place < total and (named := child.line()) is not None:
                    yield from self._episode(child, named)
                    place += step
            if place >= total:
                return
            if place == before:
                raise DataError(
                    Code.DATA_DECODER, "the reading child died twice at one place", "leave the damaged file out"
                )

    def _opened(self, child: "_Child") -> int:
        """How many episodes a child found."""
        opening = child.line()
        if opening is None:
            raise DataError(
                Code.DATA_DECODER, f"the reading child died of the source ({child.status()})", "check its files"
            )
        if "code" in opening:
            raise _error(opening)
        self.format = _plain(opening.get("format"))
        return _count(opening.get("episodes"))

    def _episode(self, child: "_Child", named: dict[str, Any]) -> "_Steps":
        attempt = f"{self._request.mapping.dataset}-{named.get('name')}"
        if not _ATTEMPT.fullmatch(attempt):
            raise DataError(Code.DATA_FOREIGN, f"{attempt!r:.150} would be no plain name", "rename it in the source")
        source = _plain(named.get("source"))
        if self._is_there(attempt):
            child.say("skip")
            yield None
            yield Converted(attempt=attempt, source=source, status="already", plan={})
            return
        child.say("go")
        yield None
        told = child.line()
        if told is None:
            told = {
                "code": Code.DATA_DECODER,
                "cause": f"the reading child died of it ({child.status()})",
                "fix": "check the episode's files, or leave it out",
            }
        if "code" in told:
            error = _error(told)
            if error.code is Code.STORE_FULL:
                raise error
            refused = {"code": error.code, "cause": error.cause, "fix": error.fix}
            yield Converted(attempt=attempt, source=source, status="refused", plan={}, **refused)
            return
        status: Status = "converted" if self._request.output else "planned"
        yield Converted(attempt=attempt, source=source, status=status, plan=_plan(told))


_Steps: TypeAlias = Generator[Converted | None, None, None]
"""For each episode None, when its child is at work, and then what became of it."""


class _Strand:
    """A child's work, which goes on while nobody asks for it; an error waits for its turn."""

    def __init__(self, steps: _Steps) -> None:
        self._steps = steps
        self._error: VolanoError | None = None
        self._ended = False

    def go_on(self) -> None:
        """Let the child begin its next episode."""
        try:
            self._ended = next(self._steps, ...) is ...
        except VolanoError as error:
            self._error = error

    def result(self) -> Converted | None:
        """What became of the episode that it began last; None when there was no other."""
        if self._error is not None:
            raise self._error
        return None if self._ended else next(self._steps)

    def end(self) -> None:
        """End the child, whatever it is at."""
        self._steps.close()


def _plain(value: object) -> str:
    """What a child said, short and printable."""
    return Finding.of(Code.DATA_FOREIGN, str(value)).evidence


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _plan(told: dict[str, Any]) -> dict[str, Any]:
    """The plan that a child told of; raises DataError(E-DATA-012) when it is none."""
    try:
        return {
            "frames": _count(told["frames"]),
            "instruction": _plain(told["instruction"]),
            "notes": [_plain(note) for note in told["notes"]],
            "cameras": {
                _plain(name): {
                    "treatment": _plain(camera["treatment"]),
                    "reason": _plain(camera["reason"]),
                    "size": _count(camera["size"]),
                }
                for name, camera in told["cameras"].items()
            },
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(Code.DATA_DECODER, "the reading child talks nonsense", "leave the source out") from error


_KINDS: dict[Code, type[VolanoError]] = {Code.SYSTEM_LIBRARY: SystemMissingError, Code.STORE_FULL: StorageError}


def _error(told: dict[str, Any]) -> VolanoError:
    """The error that a child told of, whatever it said."""
    code = next((code for code in Code if code == told["code"]), Code.DATA_DECODER)
    return _KINDS.get(code, DataError)(code, _plain(told.get("cause")), _plain(told.get("fix")))


class _Child:
    """A converting child and the lines between it and this side; none of its lines is to be trusted."""

    def __init__(self, request: Request, first: int) -> None:
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
        self.say(json.dumps(_as_json(request, first)))

    def say(self, line: str) -> None:
        """Send a line; a child that is gone hears nothing, which its next line shows."""
        with suppress(BrokenPipeError):
            _pipe(self._process.stdin).write(line.encode() + b"\n")
            _pipe(self._process.stdin).flush()

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

    def __enter__(self) -> "_Child":
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


def _as_json(request: Request, first: int) -> dict[str, Any]:
    return {
        "limits": asdict(request.limits),
        "source": str(request.source.resolve()),
        "mapping": request.mapping_text,
        "embodiment": request.embodiment.to_json(),
        "robot": request.robot,
        "output": str(request.output.resolve()) if request.output else "",
        "first": first,
        "step": request.workers,
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
