"""Says how far a training is while it runs, from its journal alone: the workers may be on any machine."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from volano.train.journal import Point, behind, read_journal

_LOG = logging.getLogger(__name__)
_EVERY_S = 10.0
_RECENT = 10
"""Points of the journal from which the pace is taken: a stage without images is many times faster than one with."""


@contextmanager
def telling(journal: Path, steps: int) -> Iterator[None]:
    """Log a line whenever the journal has got further, until the block is left. `steps` are those of the whole run."""
    done = threading.Event()

    def watch() -> None:
        told = ""
        while not done.wait(_EVERY_S):
            line = sentence(read_journal(journal) if journal.exists() else [], steps)
            if line and line != told:
                _LOG.info("%s", line)
                told = line

    thread = threading.Thread(target=watch, name="train-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def sentence(points: Sequence[Point], steps: int) -> str:
    """Where the newest point is, and how long the rest takes at the recent pace; empty before the first point."""
    points = behind(points)
    if not points:
        return ""
    step, at, metrics = points[-1]
    said = f"step {step + 1} of {steps}, loss {metrics['loss']:.3f}"
    earlier, since, _ = points[-_RECENT:][0]
    if step == earlier:
        return said
    return f"{said}, about {(steps - step - 1) * (at - since) / (step - earlier):.0f} s left"
