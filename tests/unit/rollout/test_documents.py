"""Documents become the rollout they describe, whatever they leave out, and nothing else gets in."""

from dataclasses import replace

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.rollout.fleet import CANDIDATE, CURRENT, OTHER, plan
from volano.errors import Code, RolloutError
from volano.rollout.documents import documents_of, rollout_of
from volano.rollout.guardrail import Guardrail, Guardrails
from volano.rollout.plan import ABTestStep, CanaryStep, HoldStep, MinimumEvidence, Rollout, ShadowStep
from volano.rollout.yaml_text import read_documents, write_documents

ARMS, CARS = "a" * 64, "c" * 64
TEXT = f"""
apiVersion: volano/v1
kind: Release
metadata: {{name: brisk-otter-3}}
spec: {{policy: {CANDIDATE}}}
---
apiVersion: volano/v1
kind: FleetSelector
metadata: {{name: kitchens}}
spec: {{embodiments: [arm], sites: [hall-1], deny: [arm-13]}}
---
apiVersion: volano/v1
kind: Guardrail
metadata: {{name: answers}}
spec: {{metric: latency_ms, limit: 80, most: 400, action: pause}}
---
apiVersion: volano/v1
kind: Rollout
metadata: {{name: otter}}
spec:
  stable: {CURRENT}
  candidate: brisk-otter-3
  selector: kitchens
  guardrails: [answers]
  steps:
  - shadow: {{episodes: 20}}
  - canary: {{percent: 10, episodes: 20}}
  - hold: {{seconds: 3600}}
  - canary: {{percent: 2.5e1, episodes: 40}}
  - hold: {{until: person}}
  - abTest: {{minPairs: 20, maxPairs: 200}}
  - promote: {{by: person}}
  safety: {{floor: 0.6, maxSafetyStops: 1}}
  evidence: {{margin: 0.05, sites: 2}}
  exposure: {{holdout: 0.05, maxPerCell: 1}}
"""
EXPECTED = Rollout(
    id="otter",
    embodiments=(ARMS,),
    current=CURRENT,
    candidate=CANDIDATE,
    salt="otter",
    steps=(
        ShadowStep(min_episodes=20),
        CanaryStep(percent=10.0, min_episodes=20),
        HoldStep(seconds=3600.0),
        CanaryStep(percent=25.0, min_episodes=40),
        HoldStep(seconds=0.0),
        ABTestStep(min_blocks=20, max_blocks=200),
    ),
    guardrails=Guardrails(floor=0.6, max_safety_stops=1),
    watch=(Guardrail(name="answers", metric="latency_ms", limit=80.0, most=400.0, action="pause"),),
    promotion="person",
    minimum=MinimumEvidence(sites=2),
    margin=0.05,
    holdout=0.05,
    max_per_cell=1,
    sites=("hall-1",),
    deny=("arm-13",),
)


def served(digest: str) -> dict[str, str]:
    assert digest == CANDIDATE
    return {"arm": ARMS, "car": CARS}


def read(text: str) -> Rollout:
    return rollout_of(read_documents(text.encode()), served)


def test_documents_are_the_rollout_that_they_describe() -> None:
    assert read(TEXT) == EXPECTED


@pytest.mark.parametrize(
    "document",
    [EXPECTED, plan(pins={"r9": OTHER}, embodiments=(CARS,)), replace(EXPECTED, robots=("arm-1",), tasks=("a b",))],
)
def test_a_rollout_survives_its_documents(document: Rollout) -> None:
    assert rollout_of(read_documents(write_documents(documents_of(document)).encode()), served) == document


def test_a_selector_may_stand_in_the_rollout_and_everything_served_is_meant_if_none_does() -> None:
    inline = TEXT.replace("selector: kitchens", "selector: {embodiments: [car]}")
    assert read(inline).embodiments == (CARS,)
    assert read(TEXT.replace("selector: kitchens", "selector: {}")).embodiments == (ARMS, CARS)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("kind: Guardrail", "kind: Webhook", "kind"),
        ("volano/v1\nkind: Rollout", "argoproj.io/v1alpha1\nkind: Rollout", "apiVersion"),
        ("  - promote: {by: person}\n", "", "promote"),
        ("  - promote: {by: person}\n", "  - promote: {by: inconclusive}\n", "by"),
        ("- shadow:", "- setWeight:", "steps are"),
        ("maxSafetyStops", "max_safety_stops", "unknown words"),
        ("metric: latency_ms, ", "", "absent words"),
        ("guardrails: [answers]", "guardrails: [answer]", "no document is the Guardrail"),
        ("selector: kitchens", "selector: kitchen", "no document is the FleetSelector"),
        ("embodiments: [arm]", "embodiments: [unicorn]", "does not serve"),
        ("sites: [hall-1]", "sites: [yes]", "several ways"),
        ("percent: 10,", "percent: 1_0,", "several ways"),
        ("percent: 10,", "percent: 1:30,", "several ways"),
        ("percent: 10,", "percent: .inf,", "several ways"),
        ("name: otter", "name: 2026-11-26", "several ways"),
        ("name: otter", "name: &a otter", "anchors"),
        ("name: otter", "name: !!python/name:os.system otter", "several ways"),
        ("name: otter", "name: otter, name: other", "twice"),
        ("floor: 0.6", "<<: {floor: 0.6}", "several ways"),
        ("limit: 80", "limit: 500", "limit is not within"),
        ("kind: Release", "kind: Rollout", "2 documents"),
        (f"  stable: {CURRENT}\n", "", "absent"),
        ("  selector: kitchens", "  selecter: kitchens", "unknown fields .'selecter'"),
        ("  safety:", "  safty:", "unknown fields .'safty'"),
    ],
)
def test_what_nobody_knows_is_refused_and_named(old: str, new: str, said: str) -> None:
    assert old in TEXT
    with pytest.raises(RolloutError, match=said) as refused:
        read(TEXT.replace(old, new))
    assert refused.value.code is Code.ROLLOUT_PLAN


@pytest.mark.parametrize(
    "text",
    ["", "[" * 200_000, "- " * 200_000, "a: *b", "- 1\n---\n- 2", "\x00", "{" * 100, "x" * (2 << 20), "? [a]\n: b"],
)
def test_a_text_that_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(RolloutError):
        read(text)


@example({"0E0": None, "1e5": "1e5"})
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats(-1e9, 1e9) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=12,
    )
)
def test_plain_data_survive_their_yaml(data: object) -> None:
    try:
        found = read_documents(write_documents([data]).encode())
    except RolloutError:
        assert "&" in yaml.safe_dump(data)
    else:
        assert found == ([data] if data is not None else [None])
