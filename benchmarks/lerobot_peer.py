"""LeRobot's own writer as a peer, in its own environment: the same frames, the same codec, episode after episode.

The environment is that of `tests.peers`, or another one with LeRobot in it. It is never a dependency.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.attempts import pictures
from benchmarks.measuring import Seconds, speed
from benchmarks.report import Missing, Row, without
from tests.peers import PLACE
from tests.unit.data.bundles import Draft, columns

PEER = PLACE / "lerobot"


def saved(peer: Path, folder: Path, drafts: Sequence[Draft], codec: Mapping[str, str]) -> list[Seconds]:
    """What LeRobot took for each attempt of one robot, from decoded frames to its files, with these settings of H.264;
    raises Missing."""
    python = peer / "bin" / "python"
    if not python.is_file():
        raise Missing(f"there is no environment of LeRobot at {peer}: make bench-peers makes one")
    folder.mkdir(parents=True)
    for number, wanted in enumerate(drafts):
        table = columns(wanted)
        arrays = {name: np.stack(seen) for name, seen in pictures(wanted).items()}
        arrays |= {name: table[name] for name in ("state", "action")}
        np.savez(folder / f"{number:05d}.npz", allow_pickle=False, **arrays)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    script, rate = Path(__file__).with_name("lerobot_writer.py"), int(drafts[0].embodiment.rate_hz)
    done = subprocess.run(
        [str(python), "-P", str(script), str(folder), str(rate), json.dumps(dict(codec))],
        capture_output=True,
        text=True,
        env={**clean, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home")},
        check=False,
    )
    if done.returncode != 0:
        raise Missing(f"LeRobot's writer failed: {' '.join(done.stderr.split())[-400:]}")
    return [Seconds(**one) for one in json.loads(done.stdout.splitlines()[-1])]


def compared_with(
    peer: Path,
    folder: Path,
    metric: str,
    ours: Sequence[float],
    pictures: int,
    drafts: Sequence[Draft],
    codec: Mapping[str, str],
    *,
    must: float,
    aim: float,
) -> Row:
    """How often our speed holds LeRobot's, from our CPU-seconds for so many pictures, and its own for each
    of as many attempts."""
    some = [drafts[number % len(drafts)] for number in range(len(ours))]
    try:
        saving = saved(peer, folder / "lerobot", some, codec)
    except Missing as error:
        return without(f"{metric}, over LeRobot's writer", str(error))
    theirs = [spent.cpu / (one.frames * len(one.embodiment.cameras)) for spent, one in zip(saving, some, strict=True)]
    each = [spent / pictures for spent in ours]
    name = "LeRobot's writer, which encodes"
    return speed(metric, each, theirs, name, unit="pictures / CPU-second", must=must, aim=aim)
