"""The sandbox's child: takes its limits first, then checks bundles and answers one JSON line for each: what is wrong
with it, or the record of its sketch.

Started by `volano.data.sandbox` as `python -m volano.data.check_child`, with the request on standard input. It
imports decoders only after the limits hold, says with a first line that it started, and is ended by the kernel when
a bundle uses more than its share.
"""

import ctypes
import json
import resource
import signal
import sys
from pathlib import Path
from typing import Any

_NEW_USER_AND_NETWORK = 0x10000000 | 0x40000000
_START_CPU_S = 20
"""Processor seconds to start and import the decoders."""


def confine(limits: dict[str, int], bundles: int) -> None:
    """Give up, for good, everything a check does not need. Leaving the network is best effort: container
    runtimes may forbid it, and then the container's own network policy has to hold."""
    most_cpu = limits["cpu_s"] * bundles + _START_CPU_S
    for what, most in (
        (resource.RLIMIT_AS, limits["address_space_bytes"]),
        (resource.RLIMIT_CPU, most_cpu),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_FSIZE, limits["answer_bytes"]),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    ctypes.CDLL(None).unshare(_NEW_USER_AND_NETWORK)


def allow(*, cpu_s: int, wall_s: int) -> None:
    """Start a share of processor time and wall clock; the default action of both signals is death."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = min(int(usage.ru_utime + usage.ru_stime) + 1 + cpu_s, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
    signal.alarm(wall_s)


def answer(line: dict[str, Any] | None) -> None:
    """Write one line of the answer."""
    write(json.dumps(line))


def write(line: str) -> None:
    """The same, of what is JSON already."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def begin() -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Read the request and confine; the limits and the bundles."""
    request: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    limits: dict[str, int] = request["limits"]
    confine(limits, len(request["bundles"]))
    allow(cpu_s=_START_CPU_S, wall_s=limits["wall_s"])
    sys.modules["pandas"] = None  # type: ignore[assignment]  # Arrow would import it, where installed, for nothing
    return limits, request["bundles"]


def main() -> None:
    """Begin, check, answer."""
    limits, bundles = begin()
    from volano.data.episode import Manifest
    from volano.data.finding import Finding
    from volano.data.sketch import EpisodeSketch
    from volano.data.sketch_record import to_bytes
    from volano.data.validate import examine
    from volano.embodiment.contract import Embodiment
    from volano.errors import Code

    room = limits["answer_bytes"] // (len(bundles) + 1)
    answer({"started": True})
    for bundle in bundles:
        allow(cpu_s=limits["cpu_s"], wall_s=limits["wall_s"])
        try:
            manifest = Manifest.from_json(bundle["manifest"])
            embodiment = Embodiment.from_json(bundle["embodiment"])
            found = examine(Path(bundle["folder"]), manifest, embodiment, bundle["overruled"])
            record = to_bytes(found).decode() if isinstance(found, EpisodeSketch) else ""
        except Exception as error:  # an unforeseen failure condemns this bundle, not the batch
            found = Finding.of(Code.DATA_DECODER, f"the check failed: {type(error).__name__}")
        if isinstance(found, Finding):
            answer({"code": found.code, "evidence": found.evidence})
        elif found is None or len(record) >= room:
            answer(None)
        else:
            write(record)


if __name__ == "__main__":
    main()
