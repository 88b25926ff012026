"""What every score keeps, and what each says of attempts of which the answer is known."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.bundles import ROVER
from tests.unit.data.curation.attempts import Attempt, attempt, episode
from volano.data.curation.config import Curation
from volano.data.curation.decide import decide
from volano.data.curation.features import Features
from volano.data.curation.information import contributions
from volano.data.curation.scores import SCORES

DOCUMENT = Path(__file__).parents[4] / "docs" / "curation.md"


def features(attempts: Sequence[Attempt]) -> list[Features]:
    found = [episode(f"attempt-{number}", one).features for number, one in enumerate(attempts)]
    return [one for one in found if one is not None]


@pytest.fixture(scope="module")
def varied() -> list[Features]:
    """Twelve attempts with a copy, a pause, a short one and one that never moves among them."""
    ones = [attempt(seed) for seed in range(8)]
    return features([*ones, ones[0], ones[1].held(40, 60), ones[2][:3], ones[3][:1].held(0, 50)])


@pytest.mark.parametrize("name", sorted(SCORES))
def test_a_score_is_finite_deterministic_and_blind_to_order(name: str, varied: list[Features]) -> None:
    score = SCORES[name]
    found = score(varied)
    assert found.shape == (len(varied),)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()
    assert np.array_equal(score(varied), found)
    order = np.random.default_rng(1).permutation(len(varied))
    assert np.allclose(score([varied[k] for k in order]), found[order], atol=1e-9)


@pytest.mark.parametrize("name", sorted(SCORES))
@pytest.mark.parametrize("number", [1, 2])
def test_a_score_knows_what_to_say_of_few(name: str, number: int, varied: list[Features]) -> None:
    found = SCORES[name](varied[:number])
    assert found.shape == (number,)
    assert np.isfinite(found).all()


def test_other_embodiments_change_no_score() -> None:
    own = [episode(f"arm-{seed}", attempt(seed)) for seed in range(4)]
    others = [episode(f"rover-{seed}", attempt(seed, robot=ROVER)) for seed in range(4)]
    alone = {one.content_id: one for one in decide(own, Curation()).decisions}
    together = {one.content_id: one for one in decide([*others, *own], Curation()).decisions}
    assert alone.items() <= together.items()
    assert all(set(one.scores) == set(SCORES) for one in together.values())


@pytest.mark.parametrize("name", sorted(SCORES))
def test_a_score_is_documented(name: str) -> None:
    assert (SCORES[name].__doc__ or "").strip()
    assert f"| `{name}` | " in DOCUMENT.read_text()


def test_a_copy_is_at_no_distance_and_the_farther_the_rarer() -> None:
    near = [attempt(0), attempt(0), *(_shifted(attempt(0), 0.01 * k) for k in range(1, 6))]
    found = features([*near, attempt(7)])
    assert SCORES["motion_gap"](found)[:2] == pytest.approx([0, 0], abs=1e-5)
    assert SCORES["picture_gap"](found)[:2] == pytest.approx([0, 0])
    assert SCORES["motion_gap"](found)[-1] > 0.5
    assert int(SCORES["novelty"](found).argmax()) == len(found) - 1
    assert set(SCORES["coverage"](found).argsort()[::-1][:2]) >= {len(found) - 1}, "the rare one comes first or second"


def test_jitter_is_rougher_the_more_of_it() -> None:
    random = np.random.default_rng(0)
    smooth = attempt(3)
    noise = random.normal(0, 1, smooth.state.shape)
    jittery = [replace(smooth, state=smooth.state + size * noise) for size in (0.0, 0.02, 0.05)]
    found = SCORES["smoothness"](features(jittery))
    assert found[0] > found[1] > found[2]


def test_smoothness_takes_the_rate_into_account_and_not_the_size() -> None:
    one = attempt(3)
    small = replace(one, state=0.5 + 0.1 * (one.state - 0.5))
    found = SCORES["smoothness"](features([one, small]))
    assert found[0] == pytest.approx(found[1], abs=1e-3)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, 0.99])
def test_information_is_that_of_two_gaussians(correlation: float) -> None:
    random = np.random.default_rng(5)
    state, other = random.normal(size=(2, 1000, 1))
    action = correlation * state + np.sqrt(1 - correlation**2) * other
    assert contributions(state, action).mean() == pytest.approx(-0.5 * np.log(1 - correlation**2), abs=0.08)


def test_information_survives_ties() -> None:
    random = np.random.default_rng(5)
    state = random.integers(0, 2, (600, 1)).astype(float)
    assert contributions(state, state).mean() == pytest.approx(np.log(2), abs=0.05)
    assert contributions(state, random.integers(0, 2, (600, 1)).astype(float)).mean() == pytest.approx(0, abs=0.05)


def test_an_expert_informs_more_than_chance_and_in_between_in_between() -> None:
    random = np.random.default_rng(2)
    ones = [attempt(seed) for seed in range(12)]
    shares = np.repeat([0.0, 0.3, 1.0], 4)
    mixed = [
        replace(one, action=(1 - share) * one.action + share * random.uniform(0.2, 0.8, one.action.shape))
        for one, share in zip(ones, shares, strict=True)
    ]
    found = SCORES["information"](features(mixed)).reshape(3, 4).mean(axis=1)
    assert found[0] > found[1] > found[2]


def _shifted(one: Attempt, by: float) -> Attempt:
    return replace(one, state=one.state + by, action=one.action + by)
