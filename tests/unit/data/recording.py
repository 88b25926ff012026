"""Records the test robot's attempts as a robot does; run as a program, it records until it is killed.

python -m tests.unit.data.recording FOLDER [FRAMES]   says each attempt, or each tick of long ones
"""

import sys
from pathlib import Path

import numpy as np

from tests.unit.data.bundles import POLICY, ROVER, draw
from volano.data.episode import Outcome
from volano.data.record import Recorder

OUTCOME = Outcome(success=True, autonomous=False, source="operator")


def recorder(folder: Path, attempt: str) -> Recorder:
    """A recorder of the rover."""
    return Recorder(
        folder,
        ROVER,
        robot="rover-01",
        attempt=attempt,
        task="go-to",
        instruction="go to the red ball",
        started_at=1.7e9,
    )


def add(recording: Recorder, number: int, *, helped: bool = False) -> None:
    """Record tick `number`, whose images and state show the number."""
    recording.tick(
        number / ROVER.rate_hz,
        {camera.name: draw(number, camera.height, camera.width) for camera in ROVER.cameras},
        np.array([number / 100, 0], np.float32),
        np.array([0, number / 100], np.float32),
        segment="intervention" if helped else "autonomous",
        policy="" if helped else POLICY,
        request="" if helped else f"r{number // 4}",
        executed="expert" if helped else "policy",
    )


def record(folder: Path, attempt: str = "attempt-0001", frames: int = 12) -> Path:
    """A finished bundle; the second half is an intervention."""
    with recorder(folder, attempt) as recording:
        for number in range(frames):
            add(recording, number, helped=number >= frames // 2)
        return recording.finish(OUTCOME)


if __name__ == "__main__":
    if sys.argv[2:]:
        with recorder(Path(sys.argv[1]), "attempt-0000") as recording:
            for number in range(int(sys.argv[2])):
                add(recording, number)
                sys.stdout.write(f"{number + 1}\n")
                sys.stdout.flush()
    for number in range(1_000_000):
        record(Path(sys.argv[1]), f"attempt-{number:04d}", frames=3)
        sys.stdout.write(f"attempt-{number:04d}\n")
        sys.stdout.flush()
