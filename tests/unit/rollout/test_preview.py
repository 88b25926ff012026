"""What a plan says it will do to each robot is what assignment does."""

from tests.unit.rollout.fleet import OTHER, plan
from volano.rollout.assign import assign
from volano.rollout.plan import ABTestStep, CanaryStep, HoldStep, ShadowStep
from volano.rollout.preview import touches
from volano.rollout.state import ABTest, Canary, Hold, Promoted, Shadow, State

ROBOTS = [(f"arm-{number:02d}", f"hall-{number % 2}", "arm") for number in range(80)]
STEPS = (
    ShadowStep(min_episodes=1),
    HoldStep(seconds=1.0),
    CanaryStep(percent=20.0, min_episodes=1),
    HoldStep(seconds=0.0),
    CanaryStep(percent=60.0, min_episodes=1),
    ABTestStep(min_blocks=1, max_blocks=2),
)
DOCUMENT = plan(
    steps=STEPS,
    holdout=0.1,
    max_per_cell=3,
    sites=("hall-1",),
    allow=("arm-00",),
    deny=("arm-03",),
    pins={"arm-05": OTHER},
)


def test_what_is_foretold_is_what_is_assigned() -> None:
    found = touches(DOCUMENT, ROBOTS)
    assert [one.step for one in found] == ["shadow", "hold", "canary", "hold", "canary", "ab_test", "promote"]
    kinds = {"shadow": Shadow, "hold": Hold, "canary": Canary, "ab_test": ABTest}
    for position, one in enumerate(found[:-1]):
        state: State = kinds[one.step](step=position, since=0.0)
        touched = []
        for name, site, _ in ROBOTS:
            peers = tuple(other for other, there, _ in ROBOTS if there == site)
            given = assign(DOCUMENT, state, name, "t", 0, site=site, peers=peers)
            if given.arm or given.shadow:
                touched.append(name)
        assert one.exposed == tuple(touched), position
        assert sum(one.left.values()) + len(touched) == len(ROBOTS)
    assert found[1].exposed == ()
    assert len(found[2].exposed) <= 4
    assert found[3].added == ()
    assert len(found[4].exposed) == 4
    assert len(found[-1].exposed) == 79
    assert set(found[-1].added).isdisjoint(found[-2].exposed)


def test_promotion_reaches_every_robot_but_those_pinned() -> None:
    ended = Promoted(since=0.0, reason="")
    last = touches(DOCUMENT, ROBOTS)[-1]
    assert "arm-05" not in last.exposed
    assert assign(DOCUMENT, ended, "arm-05", "t", 0).policy == OTHER
