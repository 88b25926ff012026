"""The changes between two trees say exactly what makes the one the other."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volano.train.drift import ABSENT, Change, changes

LEAVES = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, 0.5, "", "a", "1"])
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=8,
)


def typed(tree: object) -> object:
    """A tree that equals another only if the types of all leaves are equal, too."""
    if isinstance(tree, dict):
        return {name: typed(item) for name, item in tree.items()}
    return [typed(item) for item in tree] if isinstance(tree, list) else (type(tree), tree)


def changed(tree: object, found: list[Change]) -> object:
    """The tree with every change made, longest lists first cut from behind."""
    top: Any = {"top": copy.deepcopy(tree)}
    for change in sorted(found, key=lambda change: change.new is ABSENT):
        node, last = top, "top"
        for part in change.key.split(".") if change.key else []:
            node, last = node[int(last) if isinstance(node, list) else last], part
        if change.new is ABSENT:
            node[int(last) if isinstance(node, list) else last] = ABSENT
        elif isinstance(node, list) and int(last) == len(node):
            node.append(change.new)
        else:
            node[int(last) if isinstance(node, list) else last] = change.new
    return without_absent(top["top"])


def without_absent(tree: object) -> object:
    if isinstance(tree, dict):
        return {name: without_absent(item) for name, item in tree.items() if item is not ABSENT}
    return [without_absent(item) for item in tree if item is not ABSENT] if isinstance(tree, list) else tree


@given(TREES, TREES)
def test_making_the_changes_makes_the_one_the_other(old: object, new: object) -> None:
    assert typed(changed(old, list(changes(old, new)))) == typed(new)


@given(TREES)
def test_a_tree_does_not_differ_from_itself(tree: object) -> None:
    assert list(changes(tree, copy.deepcopy(tree))) == []


@given(TREES, TREES)
def test_the_way_back_is_the_same_changes_turned_round(old: object, new: object) -> None:
    there, back = ([(c.key, c.old, c.new) for c in changes(*sides)] for sides in ((old, new), (new, old)))
    assert [(key, typed(b), typed(a)) for key, a, b in there] == [(key, typed(a), typed(b)) for key, a, b in back]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            {"stages": [{"batch": 4}, {"batch": 4}]},
            {"stages": [{"batch": 4}, {"batch": 8}]},
            ["stages.1.batch: 4 -> 8"],
        ),
        ({"a": 1, "b": "x"}, {"a": 1.0, "b": "y"}, ["a: 1 -> 1.0", "b: 'x' -> 'y'"]),
        ({"old": None}, {"new": []}, ["new: nothing -> []", "old: None -> nothing"]),
        ({"steps": [1, 2]}, {"steps": [1]}, ["steps.1: 2 -> nothing"]),
    ],
)
def test_changes_are_said_key_by_key(old: object, new: object, said: list[str]) -> None:
    assert [str(change) for change in changes(old, new)] == said


def test_what_is_absent_has_no_entry_in_plain_data() -> None:
    assert [change.to_json() for change in changes({"a": 1}, {"b": None})] == [
        {"key": "a", "old": 1},
        {"key": "b", "new": None},
    ]
