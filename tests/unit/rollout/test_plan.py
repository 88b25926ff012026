"""The document is valid or does not exist, and survives its JSON."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rollout.fleet import CURRENT, OTHER, plan
from volano.errors import Code, RolloutError
from volano.rollout.guardrail import Guardrail, Guardrails
from volano.rollout.plan import ABTestStep, CanaryStep, HoldStep, MinimumEvidence, Rollout, ShadowStep

AB = ABTestStep(min_blocks=5, max_blocks=10)


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": ()},
        {"steps": (ShadowStep(min_episodes=1), CanaryStep(percent=10.0, min_episodes=1))},
        {"steps": (AB, AB)},
        {"steps": (AB, CanaryStep(percent=10.0, min_episodes=1))},
        {"steps": (CanaryStep(percent=50.0, min_episodes=1), CanaryStep(percent=10.0, min_episodes=1), AB)},
        {"steps": (CanaryStep(percent=0.0, min_episodes=1), AB)},
        {"steps": (ShadowStep(min_episodes=0), AB)},
        {"steps": (ABTestStep(min_blocks=9, max_blocks=8),)},
        {"candidate": CURRENT},
        {"candidate": "latest"},
        {"salt": ""},
        {"embodiments": ()},
        {"alpha": 0.0},
        {"alpha": float("nan")},
        {"margin": -0.1},
        {"margin": float("nan")},
        {"holdout": 1.0},
        {"allow": ("r1",), "deny": ("r1",)},
        {"pins": {"r1": "latest"}},
        {"guardrails": Guardrails(floor=1.0)},
        {"minimum": MinimumEvidence(episodes=0)},
        {"minimum": MinimumEvidence(hours=float("nan"))},
        {"steps": (AB, HoldStep(seconds=1.0))},
        {"steps": (HoldStep(seconds=-1.0), AB)},
        {"fleet": "a b"},
        {"robots": ("a b",)},
        {"patience_s": 0.0},
        {"patience_s": float("inf")},
    ],
)
def test_a_wrong_plan_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(RolloutError) as error:
        plan(**changes)
    assert error.value.code == Code.ROLLOUT_PLAN


def test_a_plan_survives_its_json() -> None:
    document = plan(
        steps=(HoldStep(seconds=0.0), AB),
        pins={"r9": OTHER},
        allow=("r1",),
        deny=("r2",),
        guardrails=Guardrails(floor=0.3),
        watch=(Guardrail(name="late", metric="latency_ms", limit=50.0, most=200.0),),
        holdout=0.05,
        sites=("hall",),
        promotion="person",
    )
    again = Rollout.from_json(json.loads(json.dumps(document.to_json())))
    assert again == document
    assert again.digest == document.digest
    assert plan(salt="salt-2").digest != plan().digest


@given(
    st.sampled_from(sorted(plan().to_json())),
    st.none() | st.integers() | st.text(max_size=5) | st.lists(st.none(), min_size=1),
)
def test_foreign_json_is_refused_or_equal(name: str, value: object) -> None:
    data: dict[str, Any] = {**plan().to_json(), name: value}
    with suppress(RolloutError):
        document = Rollout.from_json(data)
        assert document.to_json()[name] == value
        assert Rollout.from_json(document.to_json()) == document


def test_unknown_and_absent_fields_are_refused() -> None:
    data = plan().to_json()
    wrongs: list[object] = [{**data, "auto_ship": True}, {k: v for k, v in data.items() if k != "salt"}, [], None]
    for wrong in wrongs:
        with pytest.raises(RolloutError):
            Rollout.from_json(wrong)
