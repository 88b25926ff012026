"""Which requests run together: everybody who is expected, most urgent first, and nobody waits for long."""

import pytest

from volano.inference.batcher import Batcher, Waiting


def batcher(*robots: str, took_s: float = 0.05, at: float = 0.0) -> Batcher[str]:
    """A batcher that knows how long a batch takes, with one request of each of these robots."""
    found: Batcher[str] = Batcher(most=4)
    found.note(took_s, at)
    for robot in robots:
        found.add(Waiting(item=robot, source=robot, arrived=at, deadline=at + 1))
    return found


def taken(found: Batcher[str], now: float) -> list[str]:
    return [one.item for one in found.take(now)[0]]


def test_a_robot_alone_never_waits() -> None:
    assert batcher().start_at(0.0) is None
    assert batcher("a").start_at(0.0) == 0.0


def test_whoever_asked_lately_is_waited_for_a_tenth_of_a_batch() -> None:
    found = batcher("a", "b", took_s=0.05)
    assert taken(found, 0.0) == ["a", "b"]
    found.add(Waiting(item="a", source="a", arrived=0.06, deadline=1.0))
    assert found.start_at(0.06) == pytest.approx(0.065)
    found.add(Waiting(item="b", source="b", arrived=0.062, deadline=1.0))
    assert found.start_at(0.062) == 0.062


def test_nobody_is_waited_for_beyond_a_deadline() -> None:
    found = batcher("a", "b", took_s=0.05)
    taken(found, 0.0)
    found.add(Waiting(item="a", source="a", arrived=0.06, deadline=0.06 + 1.2 * 0.05 + 0.001))
    assert found.start_at(0.06) == pytest.approx(0.061)


def test_whoever_left_is_not_waited_for() -> None:
    found = batcher("a", "b", took_s=0.05)
    taken(found, 0.0)
    found.add(Waiting(item="a", source="a", arrived=1.0, deadline=2.0))
    assert found.start_at(1.0) == 1.0


def test_the_most_urgent_come_first_and_the_late_are_named() -> None:
    found: Batcher[str] = Batcher(most=2)
    for name, deadline in (("late", 0.5), ("last", 9.0), ("soon", 2.0), ("next", 3.0)):
        found.add(Waiting(item=name, source=name, arrived=0.0, deadline=deadline))
    batch, late = found.take(1.0)
    assert ([one.item for one in batch], [one.item for one in late]) == (["soon", "next"], ["late"])
    assert taken(found, 1.0) == ["last"]
    assert found.start_at(1.0) is None


def test_eight_robots_in_step_share_their_batches() -> None:
    """A policy of 50 ms, robots that ask again 2 ms after their answer: six times what one robot gets."""
    found: Batcher[int] = Batcher(most=8)
    found.note(0.05, 0.0)
    now, served, arrivals = 0.0, 0, [(0.001 * robot, robot) for robot in range(8)]
    while now < 10:
        for arrived, robot in sorted(arrivals):
            if arrived <= now:
                found.add(Waiting(item=robot, source=robot, arrived=arrived, deadline=arrived + 0.5))
        arrivals = [one for one in arrivals if one[0] > now]
        start = found.start_at(now)
        if start is not None and start <= now:
            batch, _ = found.take(now)
            now += 0.05
            found.note(0.05, now)
            served += len(batch)
            arrivals += [(now + 0.002 + 0.0002 * place, one.item) for place, one in enumerate(batch)]
        else:
            now = min([arrived for arrived, _ in arrivals] + ([start] if start is not None else []))
    assert served / 10 >= 6 * (1 / 0.052)


def test_one_that_asks_while_others_do_is_not_alone() -> None:
    found: Batcher[str] = Batcher(most=8)
    assert found.is_alone("a", 0.0)
    found.note(0.05, 0.05)
    assert found.is_alone("a", 0.06)
    assert not found.is_alone("b", 0.07)
    found.add(Waiting(item="b", source="b", arrived=0.07, deadline=1.0))
    assert not found.is_alone("a", 0.08)
    found.take(0.08)
    assert not found.is_alone("a", 0.09)
    assert found.is_alone("a", 0.5)
