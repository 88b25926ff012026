"""What the next round learns from: interventions first, nothing twice, nothing left out."""

from dataclasses import replace

from volano.data.episode import Manifest, Outcome, Segment
from volano.embodiment.shipped import SCOUT
from volano.flywheel.mine import WEIGHTS, mine, reason


def episode(name: str, kinds: str, *, success: bool) -> Manifest:
    """An episode of ten ticks per letter: a autonomous, i intervention, r recovery."""
    words = {"a": "autonomous", "i": "intervention", "r": "recovery"}
    segments = tuple(
        Segment(start=10 * number, end=10 * number + 10, kind=words[kind])  # type: ignore[arg-type]
        for number, kind in enumerate(kinds)
    )
    return Manifest(
        schema="volano.episode.1",
        attempt=name,
        robot="scout-1",
        embodiment=SCOUT.tag,
        fingerprint=SCOUT.fingerprint,
        task="red",
        instruction="go to the red box",
        started_at=1.0,
        rate_hz=SCOUT.rate_hz,
        frames=10 * len(kinds),
        segments=segments,
        outcome=Outcome(success=success, autonomous="i" not in kinds, source="script"),
        policies=(),
        rollout="",
        arm="",
        files={},
    )


def test_each_episode_is_there_for_one_reason() -> None:
    assert reason(episode("one", "i", success=True)) == "demonstration"
    assert reason(episode("two", "ai", success=True)) == "intervention"
    assert reason(episode("three", "aira", success=False)) == "intervention"
    assert reason(episode("four", "a", success=True)) == "success"
    assert reason(episode("five", "a", success=False)) == "failure"


def test_what_corrects_the_policy_weighs_most_and_nothing_is_left_out() -> None:
    manifests = [
        replace(one, robot=f"robot-{number}")
        for number, one in enumerate(
            [episode("a", "ai", success=True), episode("b", "a", success=False), episode("c", "i", success=True)]
        )
    ]
    mined = mine([*manifests, *manifests])
    assert mined.reasons == {"demonstration": 1, "failure": 1, "intervention": 1}
    assert set(mined.weights) == {one.content_id for one in manifests}
    assert min(mined.weights.values()) > 0
    assert mined.weights[manifests[0].content_id] == max(WEIGHTS.values())
    assert mine(reversed(manifests)) == mined
