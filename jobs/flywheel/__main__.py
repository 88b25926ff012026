"""Turn the flywheel twice on one machine, with every part real: `python -m jobs.flywheel [--home DIR]`.

Kill it whenever you like and start it again: it goes on with the step it was in. Its report is one HTML page.
"""

import argparse
import logging
import signal
import sys
import time
from pathlib import Path

from jobs.flywheel.home import Home
from jobs.flywheel.machine import memory_watch
from jobs.flywheel.plan import FlywheelPlan
from jobs.flywheel.report import report
from jobs.flywheel.rounds import Rounds
from jobs.flywheel.running import running
from volano.ending import coded_ending
from volano.flywheel.page.document import write_page

_LOG = logging.getLogger("flywheel")


def turn(home: Home, plan: FlywheelPlan) -> None:
    """Turn twice, or finish what was begun, and write the report. Raises VolanoError."""
    begun = time.monotonic()
    with home.occupied():
        home.bind(plan)
        with memory_watch() as peak, running(home, plan, tracked=True) as (steps, gateway):
            steps.show_champion()  # people may have decided since the last turn
            result = Rounds(home, plan, steps, gateway.ready).turn()
        home.page.parent.mkdir(parents=True, exist_ok=True)
        write_page(report(home, result, peak_bytes=peak[0]), home.page)
    took, used = time.monotonic() - begun, peak[0] / 1e9
    _LOG.info("the flywheel turned twice; this start took %.0f s, and the machine %.1f GB more at most", took, used)
    _LOG.info("report: %s", home.page)
    _LOG.info("next: open it, or see the runs: %s", home.mlflow_command)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m jobs.flywheel", description="Turn the flywheel twice."
    )
    parser.add_argument("--home", type=Path, default=Path(".volano"), help="where everything is kept")
    parser.add_argument(
        "--small",
        action="store_true",
        help="a few episodes and steps: for tests; its policy learns too little to pass the gate",
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for noisy in ("alembic", "dbos", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, _end)
    with coded_ending(_LOG):
        turn(Home(options.home.resolve()), SMALL if options.small else FlywheelPlan())


def _end(number: int, _frame: object) -> None:
    """SIGTERM ends the driver as Ctrl-C does, and with it what it started; a second one must not end that ending."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + number)


SMALL = FlywheelPlan(
    demonstrations={"sawyer": 8, "scout": 8, "glider": 8, "car": 6},
    practice=1,
    evaluation=4,
    waves=(1, 1),
    settings={"nano": ("stages.0.steps=4", "stages.1.steps=6"), "nano_finetune": ("stages.0.steps=6",)},
)


if __name__ == "__main__":
    main()
