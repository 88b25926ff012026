"""Checking hostile bundles in a child process that may die: the parent never decodes what a robot sent.

The child (`volano.data.check_child`) has a bounded address space, processor time per bundle, wall clock, number of
files and answer size, writes no core, and inherits neither secrets nor the parent's environment. A batch shares one
child, because starting one costs half a second; when the child dies, the bundle that it was at is checked again alone,
and so are those before it and those behind it, so that a poisonous upload condemns only itself (E-DATA-012). A child
that somebody else killed, or that could not even start, is no evidence against an upload (E-SYSTEM-002).

Of a sound episode the child also makes the sketch, since it has decoded everything. Whoever takes over the child can
make it lie about its batch's episodes, as about whether they are sound, and about nothing else: a record is checked
before it counts, and once more, against the rows, when a version is made of it.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from volano.data.episode import Manifest
from volano.data.finding import Finding
from volano.data.sketch_record import from_bytes
from volano.embodiment.contract import Embodiment
from volano.errors import Code, SystemMissingError

_CHILD = "volano.data.check_child"
KILLED_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)
"""A limit ends a child by another signal; these come from a person, an out-of-memory killer or a cluster that ends."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a child may use."""

    address_space_bytes: int = 1536 << 20
    cpu_s: int = 30
    """Processor seconds per bundle."""
    wall_s: int = 120
    """Seconds per bundle."""
    open_files: int = 64
    answer_bytes: int = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A downloaded upload: a folder with the files that the manifest names, and the contract it claims."""

    folder: Path
    manifest: Manifest
    embodiment: Embodiment
    overruled: tuple[Code, ...] = ()
    """Findings that a person has overruled."""


@dataclass(frozen=True, kw_only=True)
class Sound:
    """What is known of an episode in which nothing was found."""

    record: bytes
    """Of its sketch, checked: see `volano.data.sketch_record`."""


def check_bundles(bundles: Sequence[Bundle], limits: Limits) -> list[Finding | None]:
    """`examine_bundles` for those who want to know what is wrong only."""
    return [found if isinstance(found, Finding) else None for found in examine_bundles(bundles, limits)]


def examine_bundles(bundles: Sequence[Bundle], limits: Limits) -> list[Finding | Sound | None]:
    """Check every bundle in a limited child with room for an answer to each, in the same order: a finding,
    or what is known of a sound one, None when that is too much for an answer. A finding with E-SYSTEM-002 says that the
    bundle could not be judged: its child was killed from outside. Raises SystemMissingError(E-SYSTEM-002) when no child
    can start."""
    if not bundles:
        return []
    room = replace(limits, answer_bytes=limits.answer_bytes * (len(bundles) + 1))
    status, lines = run_child(_CHILD, bundles, room)
    answers = _parse(lines, bundles) if status == 0 else []
    if len(answers) == len(bundles):
        return answers
    if len(bundles) == 1:
        code = Code.SYSTEM_SANDBOX if status in KILLED_FROM_OUTSIDE else Code.DATA_DECODER
        return [Finding.of(code, f"the checking child ended with status {status}")]
    at = min(len(lines), len(bundles) - 1)  # whatever a dying child said: each part is smaller
    parts = (bundles[:at], bundles[at : at + 1], bundles[at + 1 :])
    return [found for part in parts for found in examine_bundles(part, limits)]


def run_child(module: str, bundles: Sequence[Bundle], limits: Limits) -> tuple[int, list[bytes]]:
    """Run one child over the bundles, as `python -m module`: its status, and the lines of its answer, of which none is
    to be trusted. Raises SystemMissingError(E-SYSTEM-002) when it could not say that it started."""
    request = {"limits": asdict(limits), "bundles": [_as_json(bundle) for bundle in bundles]}
    with tempfile.TemporaryFile() as question, tempfile.TemporaryFile() as answer:
        question.write(json.dumps(request).encode())
        question.seek(0)
        try:
            status = subprocess.run(
                [sys.executable, "-s", "-B", "-m", module],
                stdin=question,
                stdout=answer,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                cwd="/",
                timeout=limits.wall_s * (len(bundles) + 1),
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            status = -signal.SIGALRM
        answer.seek(0)
        lines = answer.read(limits.answer_bytes).splitlines()
    if not lines:
        raise SystemMissingError(
            Code.SYSTEM_SANDBOX,
            f"the checking child did not start (status {status})",
            "check that Volano is installed whole, and that memory and open files allow a child",
        )
    return status, lines[1:]


def _as_json(bundle: Bundle) -> dict[str, Any]:
    return {
        "folder": str(bundle.folder.resolve()),
        "manifest": asdict(bundle.manifest),
        "embodiment": bundle.embodiment.to_json(),
        "overruled": bundle.overruled,
    }


def _environment() -> dict[str, str]:
    search_path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if os.path.exists(entry))
    return {"PYTHONPATH": search_path, "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system", "LANG": "C.UTF-8"}


def _parse(lines: Sequence[bytes], bundles: Sequence[Bundle]) -> list[Finding | Sound | None]:
    """The answers to as many bundles; none when one is nonsense."""
    try:
        return [_answer(line, bundle) for line, bundle in zip(lines, bundles, strict=True)]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return []


def _answer(line: bytes, bundle: Bundle) -> Finding | Sound | None:
    if line == b"null":
        return None
    if line.startswith(b'{"code"'):
        said = json.loads(line)
        return Finding.of(Code(said["code"]), str(said["evidence"]))
    from_bytes(line, bundle.manifest, bundle.embodiment)
    return Sound(record=line)
