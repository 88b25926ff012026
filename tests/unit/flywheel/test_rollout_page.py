"""The page of a rollout says its verdict, its numbers, its guardrails and its robots; text from outside stays text."""

import math
from dataclasses import replace

from tests.unit.flywheel.reports import HOSTILE
from tests.unit.flywheel.test_page import Page, seen
from tests.unit.rollout.fleet import outcome, plan
from volano.flywheel.page.rollout import rollout_page
from volano.rollout.evidence import Evidence
from volano.rollout.guardrail import Guardrail
from volano.rollout.machine import begin, step
from volano.rollout.plan import CanaryStep
from volano.rollout.preview import touches

ROBOTS = [(f"arm-{number:02d}", "hall", "arm") for number in range(60)]
WATCH = (
    Guardrail(name="late", metric="latency_ms", limit=50.0, most=200.0),
    Guardrail(name="help", metric="interventions", limit=1.0, action="pause"),
)


def test_the_page_says_what_was_decided_on_which_numbers_and_who_is_exposed() -> None:
    document = plan(watch=WATCH, steps=(CanaryStep(percent=50.0, min_episodes=30), *plan().steps[2:]))
    state, evidence, verdicts = begin(document, 0.0), Evidence.of(document), []
    for counter in range(20):
        item = outcome(document, "arm-01", HOSTILE[:200], counter)
        evidence = evidence.extended([replace(item, success=item.arm == "B", measures={"latency_ms": 30.0})])
        verdicts.append(step(document, state, evidence, float(counter))[1])
    made = rollout_page(document, state, evidence, verdicts, touches(document, ROBOTS), "c" * 64)
    text = seen(made)
    for said in (
        "10 / 10",
        "0 / 10",
        "10 of 30 candidate episodes",
        "late: latency_ms above 50",
        "30 to 30 in 10 episodes",
    ):
        assert said in text
    assert f"{verdicts[-1].numbers['log_e_superiority']:.3g}, {-math.log(0.05):.3g} needed" in made.decode()
    exposed = touches(document, ROBOTS)[0].exposed
    assert 15 < len(exposed) < 45
    assert all(name in text for name in exposed)
    assert "script" not in {tag for tag, _ in Page(made).elements}
    assert document.digest in text


def test_a_rollout_that_nobody_looked_at_has_a_page() -> None:
    document = plan()
    made = rollout_page(document, begin(document, 0.0), Evidence.of(document), [], touches(document, []), "c" * 64)
    assert "nobody looked yet" in seen(made)
