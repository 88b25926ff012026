"""Each change between versions is told once, with the reason of the version that made it last."""

from tests.unit.data.bundles import ROVER
from volano.data.difference import Change, changes, numbers, path
from volano.data.version import DatasetVersion, EpisodeReference, ancestors


def version(parent: DatasetVersion | None, reason: str, **weights: float) -> DatasetVersion:
    """A version of episodes called by their letter."""
    episodes = tuple(
        EpisodeReference(content_id=name, embodiment=ROVER.fingerprint, weight=weight)
        for name, weight in sorted(weights.items())
    )
    return DatasetVersion(
        parent=parent.id if parent else "", reason=reason, episodes=episodes, embodiments={"rover": ROVER}, files={}
    )


FIRST = version(None, "first", a=1.0, b=1.0, c=1.0)
SECOND = version(FIRST, "more", a=1.0, b=2.0, c=1.0, d=1.0, e=1.0)
THIRD = version(SECOND, "recall", a=1.0, b=2.0, d=3.0)
OTHER = version(FIRST, "aside", a=1.0)
ALL = [FIRST, SECOND, OTHER, THIRD]


def test_the_way_leads_child_by_child() -> None:
    assert ancestors(ALL, THIRD) == (SECOND, FIRST)
    assert path(ALL, FIRST, THIRD) == (FIRST, SECOND, THIRD)
    assert path(ALL, THIRD, FIRST) == (THIRD, FIRST)
    assert path(ALL, OTHER, THIRD) == (OTHER, THIRD)
    assert path(ALL, FIRST, FIRST) == (FIRST,)


def test_a_lost_parent_ends_the_way() -> None:
    assert ancestors([FIRST, THIRD], THIRD) == ()


def test_each_change_has_the_reason_of_who_made_it() -> None:
    assert list(changes(path(ALL, FIRST, THIRD))) == [
        Change(kind="added", content_id="d", before=0.0, after=3.0, reason="recall"),
        Change(kind="removed", content_id="c", before=1.0, after=0.0, reason="recall"),
        Change(kind="reweighted", content_id="b", before=1.0, after=2.0, reason="more"),
    ]
    assert list(changes((FIRST,))) == list(changes((FIRST, FIRST))) == []


def test_what_came_and_went_between_is_no_change() -> None:
    assert "e" not in {one.content_id for one in changes(path(ALL, FIRST, THIRD))}


def test_numbers_are_by_kind_robot_and_reason() -> None:
    found = list(changes(path(ALL, FIRST, SECOND)))
    robots = {"b": "rover-01", "d": "rover-01", "e": "rover-01"}
    assert numbers(found, robots) == {("added", "rover-01", "more"): 2, ("reweighted", "rover-01", "more"): 1}
