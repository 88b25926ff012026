"""What arrived becomes evidence; an end that nobody saw is no label."""

import pytest

from tests.unit.flywheel.season import CANDIDATE
from tests.unit.flywheel.test_mine import episode
from volano.data.episode import Manifest, Outcome
from volano.flywheel.outcomes import outcomes
from volano.ledger.records import Assignment

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
