"""Checking hostile bundles in a child process that may die: the parent never decodes what a robot sent.

The child (`volano.data.check_child`) has a bounded address space, processor time per bundle, wall clock, number of
files and answer size, writes no core, and inherits neither secrets nor the parent's environment. A batch shares one
child, because starting one costs half a second; when the child dies, its bundles are checked again one by one, so
that a poisonous upload condemns only itself (E-DATA-012).
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from volano.data.episode import Manifest
from volano.data.finding import Finding
from volano.embodiment.contract import Embodiment
from volano.errors import Code, DataError

_CHILD = "volano.data.check_child"
_FIX = "record the episode again; if it plays elsewhere, raise the sandbox's limits"


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


def check_bundles(bundles: Sequence[Bundle], limits: Limits) -> list[Finding | None]:
    """Check every bundle in a limited child; one finding, or None, per bundle in the same order."""
    if not bundles:
        return []
    try:
        return _run_child(bundles, limits)
    except DataError as error:
        if len(bundles) == 1:
            return [Finding.of(error.code, error.cause)]
    return [finding for bundle in bundles for finding in check_bundles([bundle], limits)]


def _run_child(bundles: Sequence[Bundle], limits: Limits) -> list[Finding | None]:
    """Run one child over the bundles; raises DataError(E-DATA-012) when it dies, hangs or answers nonsense."""
    request = {"limits": asdict(limits), "bundles": [_as_json(bundle) for bundle in bundles]}
    with tempfile.TemporaryFile() as question, tempfile.TemporaryFile() as answer:
        question.write(json.dumps(request).encode())
        question.seek(0)
        try:
            done = subprocess.run(
                [sys.executable, "-s", "-B", "-m", _CHILD],
                stdin=question,
                stdout=answer,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                cwd="/",
                timeout=limits.wall_s * len(bundles) + limits.wall_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DataError(Code.DATA_DECODER, "the checking child hung and was killed", _FIX) from error
        if done.returncode != 0:
            raise DataError(Code.DATA_DECODER, f"the checking child died with status {done.returncode}", _FIX)
        answer.seek(0)
        return _parse_answer(answer.read(limits.answer_bytes), len(bundles))


def _as_json(bundle: Bundle) -> dict[str, Any]:
    return {
        "folder": str(bundle.folder.resolve()),
        "manifest": asdict(bundle.manifest),
        "embodiment": bundle.embodiment.to_json(),
    }


def _environment() -> dict[str, str]:
    search_path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if os.path.exists(entry))
    return {"PYTHONPATH": search_path, "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system", "LANG": "C.UTF-8"}


def _parse_answer(data: bytes, count: int) -> list[Finding | None]:
    try:
        answers = [json.loads(line) for line in data.splitlines()]
        findings = [None if one is None else Finding.of(Code(one["code"]), str(one["evidence"])) for one in answers]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(Code.DATA_DECODER, "the checking child answered nonsense", _FIX) from error
    if len(findings) != count:
        raise DataError(Code.DATA_DECODER, f"the checking child answered {len(findings)} of {count}", _FIX)
    return findings
