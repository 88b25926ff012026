"""An engine answers in place of fp32 only where its actions are the same, robot by robot."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volano.embodiment.shipped import SAWYER, SCOUT
from volano.errors import Code, PolicyError
from volano.model.engine import LEAST_COSINE, MOST_DIFFERENCE, Engine, Parity, compared, require_parity

BF16 = Engine(precision="bf16")


def chunks(seed: int = 0) -> list[np.ndarray]:
    low, high = (np.array([getattr(one, side) for one in SCOUT.action]) for side in ("low", "high"))
    random = np.random.default_rng(seed)
    return [random.uniform(low, high, (SCOUT.horizon, len(low))).astype(np.float32) for _ in range(8)]


def parity(**changes: float) -> Parity:
    return Parity(tag="scout", observations=8, **{"cosine": 1.0, "difference": 0.0, **changes})


def test_the_same_actions_are_the_same() -> None:
    found = compared(SCOUT, chunks(), chunks())
    assert (found.tag, found.observations, found.difference) == ("scout", 8, 0.0)
    assert found.cosine == 1.0
    require_parity(BF16, [found])


@given(st.floats(1e-4, 0.5))
def test_the_largest_difference_is_in_shares_of_the_range(share: float) -> None:
    other = chunks()
    channel = SCOUT.action[1]
    other[3][2, 1] += np.float32(share * (channel.high - channel.low))
    found = compared(SCOUT, chunks(), other)
    assert found.difference == pytest.approx(share, rel=1e-2)
    assert found.cosine < 1


def test_other_actions_have_no_cosine_to_speak_of() -> None:
    assert compared(SCOUT, chunks(), chunks(1)).cosine < 0.5
    middle = [np.zeros((SAWYER.horizon, len(SAWYER.action)), np.float32)]
    assert compared(SAWYER, middle, middle).cosine == 1.0
    assert compared(SAWYER, middle, [middle[0] + 1]).cosine == 0.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"cosine": LEAST_COSINE - 1e-6},
        {"difference": MOST_DIFFERENCE + 1e-6},
        {"cosine": float("nan")},
        {"difference": float("nan")},
    ],
)
def test_what_is_not_near_for_one_robot_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(PolicyError) as caught:
        require_parity(BF16, [parity(), parity(**wrong)])
    assert caught.value.code is Code.POLICY_PARITY
    assert "bf16 answers scout" in caught.value.cause


def test_at_the_bounds_it_may_answer() -> None:
    require_parity(BF16, [parity(cosine=LEAST_COSINE, difference=MOST_DIFFERENCE)])


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        (Engine(), ""),
        (BF16, "bf16"),
        (Engine(compiled=True), "compiled"),
        (Engine(precision="bf16", compiled=True), "bf16-compiled"),
    ],
)
def test_an_engine_has_a_short_name(engine: Engine, name: str) -> None:
    assert engine.name == name
