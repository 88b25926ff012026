"""What arrived becomes evidence; an end that nobody saw is no label."""

import json

import pytest

from tests.unit.flywheel.season import CANDIDATE
from tests.unit.flywheel.test_mine import episode
from tests.unit.rollout.fleet import TESTING, plan
from volano.data.episode import STEPS_FILE, FileEntry, Manifest, Outcome
from volano.flywheel.outcomes import measures, outcomes, shadow_outcomes
from volano.ledger.records import Assignment
from volano.rollout.evidence import Evidence
from volano.rollout.machine import step
from volano.rollout.state import RolledBack

GIVEN = Assignment(
    robot="scout-1",
    episode="one",
    task="red",
    at=0.0,
    rollout="rollout-1",
    policy=CANDIDATE,
    shadow=None,
    arm="B",
    counter=0,
    reason="",
)


@pytest.mark.parametrize(
    ("outcome", "label"),
    [
        (Outcome(success=True, autonomous=True, source="operator"), True),
        (Outcome(success=False, autonomous=True, source="timeout"), False),
        (Outcome(success=True, autonomous=False, source="operator"), False),
        (Outcome(success=False, autonomous=True, source="repair"), None),
    ],
)
def test_an_end_that_nobody_saw_is_no_failure(outcome: Outcome, label: bool | None) -> None:
    plain = episode("one", "a", success=True)
    manifest = Manifest(**{**vars(plain), "outcome": outcome})
    [found] = outcomes([GIVEN], [manifest], now=10.0, missing_after_s=60.0)
    assert (found.success, found.duration_s) == (label, manifest.frames / manifest.rate_hz)


def test_a_safety_stop_that_a_robot_recorded_rolls_the_candidate_back() -> None:
    stopped = Outcome(success=False, autonomous=True, source="operator", safety_stops=1)
    said = {"outcome": stopped, "policies": (CANDIDATE,), "files": {STEPS_FILE: FileEntry(size=1, sha256="0" * 64)}}
    manifest = Manifest(**{**vars(episode("one", "a", success=False)), **said})
    document = plan(candidate=CANDIDATE)
    found = outcomes([GIVEN], [Manifest.from_json(json.loads(manifest.to_bytes()))], now=10.0, missing_after_s=60.0)
    state, verdict = step(document, TESTING, Evidence.of(document).extended(found), 1.0)
    assert isinstance(state, RolledBack)
    assert "1 safety stops under the candidate" in verdict.reason


def test_what_a_shadows_answer_cannot_be_is_left_out() -> None:
    line = {"rollout": "r", "robot": "scout-1", "episode": "e", "problem": ""}
    answers = [
        {"request": "1", "distance": 0.25, "clamped": 0.5, "latency_s": 0.01},
        {"request": "2", "distance": 2.0, "clamped": "0.5", "latency_s": -1.0},
        {"request": "3", "distance": float("nan"), "clamped": None, "latency_s": float("inf")},
    ]
    [found] = shadow_outcomes("r", [line | answer for answer in answers])
    assert (found.answers, found.distance, found.clamped, found.latency_s) == (3, 0.25, 0.5, 0.01)


def test_a_line_of_the_access_log_that_was_read_twice_counts_once() -> None:
    slow, fast = (
        {"robot": "r", "episode": "e", "request": name, "at": 1.0, "latency_s": latency_s, "outcome": "answered"}
        for name, latency_s in (("one", 0.3), ("two", 0.1))
    )
    held = {**fast, "request": "", "at": 2.0, "outcome": "E-SERVE-001"}
    found = measures([slow, slow, slow, fast, held, held])["r", "e"]
    assert found == {"held_share": pytest.approx(1 / 3), "latency_ms": pytest.approx(200.0)}
