"""The report of a flywheel that turned: its workflow's answers, and what the store, the ledger and the runs hold."""

import platform
import shutil
from collections import defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from jobs.flywheel.home import Home
from jobs.flywheel.steps import gate_decision
from volano.cluster import ROOT
from volano.data.build import accepted
from volano.data.conservation import Counts, count
from volano.data.episode import Manifest
from volano.data.version import load
from volano.evaluate.report import Evaluation
from volano.flywheel import reconcile
from volano.flywheel.mine import reason
from volano.flywheel.stories import gate_story, loss_curves, rollout_story, success_rows
from volano.flywheel.summary import (
    DatasetStory,
    DemoReport,
    Door,
    Headline,
    Intake,
    Missing,
    PolicyStory,
    RobotUploads,
    RolloutStory,
    StepTime,
    Video,
)
from volano.registry.describe import code_revision
from volano.train.layout import JOURNAL

_VIDEOS_PER_KIND = 2


def report(home: Home, result: dict[str, Any], *, peak_bytes: int) -> DemoReport:
    """Everything the page shows; copies the sample videos beside it."""
    rounds: list[dict[str, Any]] = result["rounds"]
    evaluations = [
        (f"round {number}", Evaluation.from_bytes(Path(one["evaluation"]).read_bytes()))
        for number, one in enumerate(rounds, 1)
    ]
    manifests = accepted(home.store)
    worked = sum(step["seconds"] for step in result["timings"])
    files = ["", *(one["evaluation"] for one in rounds)]
    return DemoReport(
        title="The flywheel turned twice",
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC on {platform.machine()}, code {code_revision(ROOT)[:12]}",
        headlines=(
            *(_headline(name, evaluation) for name, evaluation in evaluations),
            Headline(figure=f"{worked / 60:.1f} min", meaning="for every step of both rounds"),
            Headline(figure=f"{peak_bytes / 1e9:.1f} GB", meaning="of memory at most, all processes of this start"),
        ),
        success=success_rows(evaluations),
        intake=(
            *(
                Intake(moment=f"before training of round {number}", counts=Counts(**one["counts"]))
                for number, one in enumerate(rounds, 1)
            ),
            Intake(moment="at the end", counts=count(home.store)),
        ),
        gates=tuple(gate_story(gate_decision(candidate, current)) for current, candidate in pairwise(files)),
        rollouts=_rollouts(home, rounds),
        videos=_videos(home, manifests),
        training=tuple(
            curve
            for number in range(1, len(rounds) + 1)
            for curve in loss_curves(f"round {number}", home.run(f"round-{number}") / JOURNAL)
        ),
        lineage=_lineage(home, rounds, manifests),
        timings=tuple(StepTime(step=step["step"], seconds=step["seconds"]) for step in result["timings"]),
        doors=(
            Door(
                name="MLflow",
                address="http://127.0.0.1:5000",
                command=home.mlflow_command,
            ),
            Door(
                name="Ray dashboard",
                address="printed when the flywheel starts; it ends with it",
                command=f"cat {home.root / 'ray.token'}",
            ),
            Door(name="audit", address=str(home.root / "ledger.db"), command="volano audit verify"),
        ),
    )


def _headline(name: str, evaluation: Evaluation) -> Headline:
    rows = [one.success for one in evaluation.successes if one.actor == "policy" and one.group in evaluation.robots]
    successes, episodes = sum(row.successes for row in rows), sum(row.n for row in rows)
    return Headline(figure=f"{successes}/{episodes}", meaning=f"evaluation episodes succeeded in {name}, all robots")


def _rollouts(home: Home, rounds: list[dict[str, Any]]) -> tuple[RolloutStory, ...] | Missing:
    stories = []
    for one in rounds:
        if one["rollout"] is not None:
            found = reconcile.status(home.ledger, one["rollout"]["id"])
            stories.append(rollout_story(found.document, found.evidence, found.verdicts))
    return tuple(stories) or Missing(reason="the second policy did not pass the gate, so nothing was rolled out")


def _videos(home: Home, manifests: list[Manifest]) -> tuple[Video, ...] | Missing:
    kinds: dict[tuple[str, str], list[Manifest]] = defaultdict(list)
    for manifest in sorted(manifests, key=lambda one: (one.robot, one.attempt)):
        kinds[manifest.embodiment, reason(manifest)].append(manifest)
    shown = [manifest for found in kinds.values() for manifest in found[:_VIDEOS_PER_KIND]]
    folder = home.page.parent / "videos"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    videos = []
    for manifest in shown:
        file = next(name for name in sorted(manifest.files) if name.endswith(".mp4"))
        name = f"{manifest.robot}-{manifest.attempt}.{file}"
        home.store.get_file(f"blobs/{manifest.files[file].sha256}", folder / name)
        videos.append(
            Video(
                path=f"videos/{name}",
                robot=manifest.robot,
                task=manifest.task,
                actor=reason(manifest),
                success=manifest.outcome.success,
            )
        )
    return tuple(videos) or Missing(reason="no episode was accepted")


def _lineage(home: Home, rounds: list[dict[str, Any]], manifests: list[Manifest]) -> tuple[PolicyStory, ...]:
    by_content = {manifest.content_id: manifest for manifest in manifests}
    stories, datasets = [], []
    for number, one in enumerate(rounds, 1):
        version = load(home.store, one["version"])
        uploads: dict[str, list[str]] = defaultdict(list)
        for episode in version.episodes:
            manifest = by_content[episode.content_id]
            uploads[manifest.robot].append(f"uploads/{manifest.robot}/{manifest.attempt}.json")
        datasets.append(
            DatasetStory(
                version=version.id,
                parent=version.parent,
                reason=version.reason,
                robots=tuple(RobotUploads(robot=r, uploads=tuple(sorted(u))) for r, u in sorted(uploads.items())),
            )
        )
        parent = rounds[number - 2]["digest"] if number > 1 else ""
        if one["digest"]:  # what the gate refused was never released
            story = PolicyStory(digest=one["digest"], name=f"round {number}", parent=parent, datasets=(datasets[-1],))
            stories.append(story)
    return tuple(stories)
