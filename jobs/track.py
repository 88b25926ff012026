"""Bring a training's metrics into MLflow, now or while it trains.

    python -m jobs.track FOLDER --tracking URI [--experiment NAME] [--follow]

It reads the run's journal and nothing else, so it can be late, killed and repeated: every point arrives once. With
--follow it goes on until its standard input ends, which is how the training says that it has ended, whatever way.
"""

import argparse
import json
import logging
import os
import random
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from volano.cluster import ROOT
from volano.registry.tracking import Projection
from volano.storage.files import wait_for_lock
from volano.train.layout import JOURNAL, LOGS, POLICY, RUN

logger = logging.getLogger(__name__)
EXPERIMENT = "volano"
LOCK = ".tracking.lock"
_LOCK_PATIENCE_S = 300.0
"""For a follower of the same run that is still there: it ends by itself, a few tries after its training."""
_EVERY_S, _LONGEST_S = 2.0, 30.0
"""Between two looks: usually, and at most while MLflow is away."""
_LAST_TRIES = 4
_PATIENCE_S = 45.0
"""How long a training that has ended waits for its last points to arrive."""


@contextmanager
def following(output: Path, tracking_uri: str) -> Iterator[None]:
    """A process that follows the run in `output` until the block is left; without a URI there is none. Whatever
    happens to it or to MLflow is no concern of the training."""
    if not tracking_uri:
        yield
        return
    log = output / LOGS / "tracking.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "jobs.track", str(output), "--tracking", tracking_uri]
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [*command, "--follow"], cwd=ROOT, stdin=subprocess.PIPE, stdout=stream, stderr=stream
        )
    try:
        yield
    finally:
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()
        _leave(process, " ".join(command[1:]), log)


def _leave(process: "subprocess.Popen[bytes]", command: str, log: Path) -> None:
    try:
        status = process.wait(timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        status = process.wait()
    if status:
        logger.warning("MLflow lacks points of this run (see %s); later: python %s", log, command)


def track(output: Path, tracking_uri: str, experiment: str, *, follow: bool) -> bool:
    """Bring a run's points into MLflow; whether all are there in the end."""
    asked = json.loads((output / RUN).read_text())
    projection = Projection(
        output / JOURNAL,
        tracking_uri=tracking_uri,
        experiment=experiment,
        run_name=output.name,
        params={
            "recipe": asked["config"]["recipe"],
            "config_digest": asked["config_digest"],
            "dataset": asked["request"]["version"],
        },
        tags={},
    )
    lock = (output / LOCK).open("ab")  # until this process ends; a follower before this one may still be sending
    wait_for_lock(lock, _LOCK_PATIENCE_S)
    refused = 0
    while follow and not _ended(_pause(refused, random.random())):
        if projection.look():
            refused = 0 if projection.send() else refused + 1
    for number in range(_LAST_TRIES if follow else 1):
        projection.look()
        if projection.send(finished=(output / POLICY).is_dir()):
            return True
        time.sleep(_pause(number, random.random()) if follow else 0)
    return False


def _pause(refused: int, chance: float) -> float:
    """Seconds to the next look, after so many refusals; `chance` in [0, 1) spreads many followers."""
    pause: float = min(_EVERY_S * 2**refused, _LONGEST_S) * (0.5 + chance)
    return pause


def _ended(within_s: float) -> bool:
    """Wait so long, unless standard input ends."""
    ready, _, _ = select.select([sys.stdin], [], [], within_s)
    return bool(ready) and not os.read(sys.stdin.fileno(), 1)


def main() -> None:
    """The command line of this job."""
    parser = argparse.ArgumentParser(allow_abbrev=False, prog="python -m jobs.track", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tracking", required=True)
    parser.add_argument("--experiment", default=EXPERIMENT)
    parser.add_argument("--follow", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    sys.exit(0 if track(options.folder.resolve(), options.tracking, options.experiment, follow=options.follow) else 1)


if __name__ == "__main__":
    main()
