"""A dataset grows by parts: nothing is missing or doubled, what can stay does, and parts stay few."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from volano.data.growth import FULL_BYTES, Growth, Part, grow


def wanted(*names: str, size: int = 100) -> dict[str, int]:
    return dict.fromkeys(names, size)


def test_the_first_version_is_one_part_in_order() -> None:
    assert grow([], wanted("c", "a", "b")) == Growth(kept=0, written=(("a", "b", "c"),))


def test_what_is_new_becomes_a_part_behind_all_others() -> None:
    assert grow([["b", "d"]], wanted("a", "b", "c", "d")) == Growth(kept=1, written=(("a", "c"),))


def test_without_a_change_everything_stays() -> None:
    assert grow([["a"], ["b"]], wanted("a", "b")) == Growth(kept=2, written=())


def test_a_removal_keeps_what_is_before_it_and_how_the_rest_is_divided() -> None:
    parts = [["a", "b"], ["c", "d"], ["e"], ["f", "g"]]
    assert grow(parts, wanted("a", "b", "d", "f", "g", "h")) == Growth(kept=1, written=(("d",), ("f", "g"), ("h",)))


def test_enough_small_parts_are_joined_with_a_new_one_and_large_ones_are_not() -> None:
    names = [str(number) for number in range(7)]
    small = [[name] for name in names]
    assert grow(small, wanted(*names, "new")) == Growth(kept=0, written=((*names, "new"),))
    assert grow(small[:6], wanted(*names[:6], "new")) == Growth(kept=6, written=(("new",),))
    large = wanted(*names, "new", size=FULL_BYTES)
    assert grow(small, large) == Growth(kept=7, written=(("new",),))


steps = st.lists(st.tuples(st.integers(0, 12), st.lists(st.integers(0, 400), max_size=2)), min_size=1, max_size=40)


@given(history=steps, sizes=st.lists(st.integers(1, 10**7), min_size=1, max_size=20))
def test_every_version_holds_exactly_what_is_wanted(
    history: Sequence[tuple[int, list[int]]], sizes: Sequence[int]
) -> None:
    """So many are added, and some removed, from one version to the next."""
    parts, held, number = list[Part](), dict[str, int](), 0
    for added, removed in history:
        held = {content: size for content, size in held.items() if int(content) not in removed}
        for _ in range(added):
            held[f"{number:04d}"], number = sizes[number % len(sizes)], number + 1
        growth = grow(parts, held)
        found = [*parts[: growth.kept], *growth.written]
        assert sorted(content for contents in found for content in contents) == sorted(held)
        assert all(found)
        parts = found


def test_a_thousand_appends_leave_few_parts_and_write_each_episode_a_few_times() -> None:
    parts, written, held = list[Part](), 0, dict[str, int]()
    for number in range(1000):
        held[f"{number:04d}"] = 200_000 + 997 * (number * 7919 % 100)
        growth = grow(parts, held)
        written += sum(len(contents) for contents in growth.written)
        parts = [*parts[: growth.kept], *growth.written]
        assert len(parts) <= 40
    assert written < 5 * 1000
