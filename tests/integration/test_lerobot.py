"""Stock LeRobot opens what we write, offline, and sees every frame, action and text where we put it.

LeRobot cannot be installed beside our own requirements, so that the test makes it an environment of its own under
`.cache`, once. It is skipped only when that environment cannot be made.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.peers import or_skip, python_of
from tests.unit.data.bundles import ROVER, Draft, columns, write_bundle
from volano.data.lerobot import Begun, DatasetWriter, SourceEpisode


def read_with_lerobot(folder: Path, home: Path) -> Any:
    """What LeRobot sees, offline."""
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(home),
        "OMP_NUM_THREADS": "1",
    }
    script = Path(__file__).with_name("read_with_lerobot.py")
    done = subprocess.run(
        [str(or_skip(python_of, "lerobot")), "-P", str(script), str(folder)],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.peer
def test_stock_lerobot_sees_every_frame_of_a_dataset_that_grew(tmp_path: Path) -> None:
    settings = [(), (), (("bf", "3"), ("b-adapt", "0")), (("preset", "slow"), ("refs", "5"), ("g", "7"))]
    drafts: dict[str, Draft] = {}
    sources = []
    for number, options in enumerate(settings):
        draft = Draft(
            seed=number,
            attempt=f"attempt-{number}",
            frames=13 + 7 * number,
            first_number=100 * number,
            instruction=f"go to object {number % 3}",
            video_options=options,
        )
        manifest = write_bundle(tmp_path / str(number), draft)
        sources.append(SourceEpisode(folder=tmp_path / str(number), manifest=manifest, weight=1.0))
        drafts[manifest.content_id] = draft
    writer = DatasetWriter(tmp_path / "dataset", ROVER, Begun())
    parts = [sources[:3], sources[3:]]
    for part in parts:
        writer.add_part(part)
    writer.finish()

    seen = read_with_lerobot(tmp_path / "dataset", tmp_path / "home")

    contents = [content_id for part in parts for content_id in sorted(one.manifest.content_id for one in part)]
    ordered = [drafts[content_id] for content_id in contents]
    assert (seen["episodes"], seen["fps"], seen["robot"]) == (4, 10, "rover")
    frames = iter(seen["frames"])
    for episode, draft in enumerate(ordered):
        table = columns(draft)
        for tick in range(draft.frames):
            frame = next(frames)
            assert (frame["episode"], frame["frame"], frame["task"]) == (episode, tick, draft.instruction)
            assert frame["numbers"] == [draft.first_number + tick] * 2
            assert frame["state"] == table["state"][tick].tolist()
            assert frame["action"] == table["action"][tick].tolist()
            last = draft.frames - 1
            assert frame["chunk"] == [table["action"][min(tick + ahead, last)].tolist() for ahead in range(3)]
    assert next(frames, None) is None
    every = np.concatenate([columns(draft)["action"] for draft in ordered]).astype(np.float64)
    np.testing.assert_allclose(seen["action_std"], every.std(axis=0), rtol=1e-5)
    assert seen["image_mean_shape"] == [3, 1, 1]
