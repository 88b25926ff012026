"""The converting child: takes its limits first, then reads a foreign source and writes one bundle for each episode.

Started by `volano.data.readers.convert`, request on the first line of standard input. It says what it found, and waits
for a line with its share: the `first` episode and the `step` to the next. Before each episode it names it and waits for
`go` or `skip`; afterwards it says what became of it. Decoders are imported only after the limits hold; the kernel ends
the child when an episode uses more than its share.
"""

import ctypes
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volano.data.check_child import allow, answer, confine

if TYPE_CHECKING:
    from volano.data.readers.foreign import Found
    from volano.data.readers.mapping import Mapping
    from volano.embodiment.contract import Embodiment

_WITH_PARENT = 1
_MOST_EPISODES = 1_000_000
"""Shares of processor time that the child may use up in all."""


def main() -> None:
    """Read the request, confine, list, convert. It ends with whoever started it: else it would write beside the next
    child that is told to convert the same."""
    ctypes.CDLL(None).prctl(_WITH_PARENT, signal.SIGKILL)
    request: dict[str, Any] = json.loads(sys.stdin.readline())
    limits: dict[str, int] = request["limits"]
    confine(limits, _MOST_EPISODES)
    allow(cpu_s=limits["cpu_s"], wall_s=limits["wall_s"])

    sys.modules["pandas"] = None  # type: ignore[assignment]  # Arrow would import it, where installed, for nothing
    from volano.data.readers.mapping import Mapping
    from volano.data.readers.open import read
    from volano.embodiment.contract import Embodiment
    from volano.errors import VolanoError
    from volano.storage.content import canonical_json, sha256_bytes

    try:
        mapping = Mapping.from_bytes(request["mapping"].encode())
        embodiment = Embodiment.from_json(request["embodiment"])
        name, found = read(Path(request["source"]), mapping)
    except VolanoError as error:
        answer({"code": error.code, "cause": error.cause, "fix": error.fix})
        return
    listed = sha256_bytes(canonical_json([[one.name, one.source] for one in found]))
    answer({"format": name, "episodes": len(found), "names": listed})
    signal.alarm(0)
    share: dict[str, int] = json.loads(sys.stdin.readline())
    for one in found[share["first"] :: share["step"]]:
        answer({"name": one.name, "source": one.source})
        signal.alarm(0)
        word = sys.stdin.readline().strip()
        allow(cpu_s=limits["cpu_s"], wall_s=limits["wall_s"])
        if word == "go":
            answer(_convert(one, request, mapping, embodiment))


def _convert(one: "Found", request: dict[str, Any], mapping: "Mapping", embodiment: "Embodiment") -> dict[str, Any]:
    from dataclasses import asdict

    from volano.data.readers.plan import plan
    from volano.data.readers.write import write
    from volano.errors import Code, VolanoError
    from volano.storage.files import FULL

    try:
        episode = one.open()
        planned = plan(episode, mapping, embodiment)
        if request["output"]:
            bundle = Path(request["output"]) / f"{mapping.dataset}-{one.name}"
            write(bundle, episode, planned, mapping, embodiment, request["robot"], durable=request["durable"])
        return asdict(planned)
    except VolanoError as error:
        return {"code": error.code, "cause": error.cause, "fix": error.fix}
    except Exception as error:  # an unforeseen failure condemns this episode, not the source
        if getattr(error, "errno", None) in FULL:
            return {
                "code": Code.STORE_FULL,
                "cause": f"the disk is full: {error}",
                "fix": "make room, and run it again",
            }
        cause = f"reading it failed: {type(error).__name__}"
        return {"code": Code.DATA_DECODER, "cause": cause, "fix": "check the episode's files, or leave it out"}


if __name__ == "__main__":
    main()
