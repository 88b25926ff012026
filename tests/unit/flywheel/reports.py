"""A complete report for tests, made from real evidence and full of hostile text."""

from dataclasses import replace
from random import Random

from tests.unit.rollout.fleet import outcome, plan
from volano.data.conservation import Counts
from volano.flywheel.stories import rollout_story
from volano.flywheel.summary import (
    Criterion,
    DatasetStory,
    DemoReport,
    Door,
    GateStory,
    Headline,
    Intake,
    LossCurve,
    PolicyStory,
    RobotUploads,
    RolloutStory,
    StepTime,
    Success,
    Video,
)
from volano.rollout.evidence import Evidence
from volano.rollout.machine import Slice, replay

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"' onload='alert(3)' javascript:alert(4)&lt;\x00\u202e"


def story(pairs: int = 40) -> RolloutStory:
    """A rollout in which the candidate always succeeds and the current policy half the time."""
    document, random = plan(steps=plan().steps[2:]), Random(0)
    outcomes = [
        outcome(document, robot, "reach", counter, success=True)
        for robot in ("scout-01", "scout-02")
        for counter in range(pairs)
    ]
    outcomes = [one if one.arm == "B" else replace(one, success=random.random() < 0.5) for one in outcomes]
    slices = [
        Slice(now=float(end), outcomes=tuple(outcomes[end - 10 : end])) for end in range(10, len(outcomes) + 1, 10)
    ]
    return rollout_story(document, Evidence.of(document).extended(outcomes), replay(document, 0.0, slices))


def report(text: str = "scout-01") -> DemoReport:
    """Every part present; `text` stands wherever a text from outside may stand."""
    return DemoReport(
        title=f"Flywheel {text}",
        made=f"made on {text}",
        headlines=(Headline(figure="62 %", meaning=f"success {text}"),),
        success=(
            Success(group=text, actor="round 1", role="policy", successes=31, episodes=53),
            Success(group=text, actor="hold", role="baseline", successes=0, episodes=54),
            Success(group="car", actor="scripted expert", role="expert", successes=55, episodes=55),
        ),
        intake=(
            Intake(
                moment=f"after round {text}",
                counts=Counts(
                    uploaded=217,
                    accepted=203,
                    quarantined={"E-DATA-001": 7, text: 2},
                    rejected={"E-DATA-007": 4},
                    in_flight=1,
                ),
            ),
        ),
        gates=(
            GateStory(
                policy="c" * 64,
                passed=False,
                reason=text,
                criteria=(Criterion(name=text, found="0.417", needed="0.5", met=False),),
            ),
        ),
        rollouts=(replace(story(), id=text),),
        videos=(Video(path="videos/round-2.mp4", robot=text, task=text, actor=text, success=True),),
        training=(LossCurve(name=text, points=((10, 1.2345), (20, float("nan")), (30, 0.8765))),),
        lineage=(
            PolicyStory(
                digest="d" * 64,
                name=text,
                parent="e" * 64,
                datasets=(
                    DatasetStory(
                        version="a" * 64,
                        parent="b" * 64,
                        reason=text,
                        robots=(RobotUploads(robot=text, uploads=(f"uploads/{text}/a-1.json",)),),
                    ),
                ),
            ),
        ),
        timings=(StepTime(step=text, seconds=123.4), StepTime(step="train", seconds=61.7)),
        doors=(
            Door(name="MLflow", address=text, command="mlflow ui --backend-store-uri sqlite:///mlflow.db"),
            Door(name="Ray", address="http://127.0.0.1:8265", command=""),
        ),
    )
