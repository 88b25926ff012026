"""Converts a source in this process and compares what came out with the truth."""

from pathlib import Path
from typing import Any

from tests.unit.data.bundles import ROVER, read_number
from tests.unit.data.readers.sources import Truth, parsed
from volano.data.bundle import read_manifest
from volano.data.episode import STEPS_FILE, video_file
from volano.data.readers.open import read
from volano.data.readers.plan import EpisodePlan, plan
from volano.data.readers.write import write
from volano.data.steps import read_steps
from volano.data.validate import check_bundle
from volano.data.video import decode


def convert_here(
    source: Path, document: dict[str, Any], output: Path, *, durable: bool = True
) -> list[tuple[Path, EpisodePlan]]:
    """Every episode's bundle and plan; raises what reading raises."""
    mapping = parsed(document)
    _, found = read(source, mapping)
    made = []
    for one in found:
        episode = one.open()
        planned = plan(episode, mapping, ROVER)
        bundle = output / f"{mapping.dataset}-{one.name}"
        write(bundle, episode, planned, mapping, ROVER, "rover-01", durable=durable)
        made.append((bundle, planned))
    return made


def require_true(bundle: Path, truth: Truth, *, instruction: str = "") -> None:
    """The bundle holds exactly the truth, and passes the gate's own check."""
    manifest = read_manifest(bundle)
    steps = read_steps(bundle / STEPS_FILE, ROVER, frames=truth.frames)
    assert steps.state.tobytes() == truth.state.tobytes()
    assert steps.action.tobytes() == truth.action.tobytes()
    assert manifest.instruction == (instruction or truth.instruction)
    assert set(steps.segment) == {"intervention"}
    numbers = list(range(truth.first_number, truth.first_number + truth.frames))
    for camera in ROVER.cameras:
        assert [read_number(image) for image in decode(bundle / video_file(camera.name))] == numbers
    assert check_bundle(bundle, manifest, ROVER) is None
