"""What each version changed says the same as the versions themselves, whether they were remembered or not."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.data.bundles import ROVER
from tests.unit.data.memory_store import MemoryStore
from volano.data.history import VERSIONS, History, history, remember, remember_child
from volano.data.pages import pages, read
from volano.data.version import DatasetVersion, EpisodeReference, ancestors

CONTENTS = [f"{number:064x}" for number in range(6)]


def version(parent: str, weights: dict[str, float], reason: str) -> DatasetVersion:
    episodes = tuple(
        EpisodeReference(content_id=content, embodiment=ROVER.fingerprint, weight=weight)
        for content, weight in sorted(weights.items())
    )
    return DatasetVersion(parent=parent, reason=reason, episodes=episodes, embodiments={"rover": ROVER}, files={})


def put(store: MemoryStore, one: DatasetVersion) -> None:
    store.put_new(f"datasets/{one.id}/version.json", one.to_bytes())


def same(found: History, versions: Sequence[DatasetVersion], contents: Sequence[str]) -> None:
    assert {(head.id, head.parent, head.reason, head.episodes) for head in found.heads} == {
        (one.id, one.parent, one.reason, len(one.episodes)) for one in versions
    }
    expected = {one.id: {e.content_id: e.weight for e in one.episodes if e.content_id in contents} for one in versions}
    assert found.holding(contents) == {name: weights for name, weights in expected.items() if weights}
    order = [head.id for head in found.heads]
    for one in versions:
        assert found.ancestors(one.id) == tuple(other.id for other in ancestors(versions, one))
        assert one.parent not in order or order.index(one.parent) < order.index(one.id)


weights = st.dictionaries(st.sampled_from(CONTENTS), st.sampled_from([1.0, 2.0]), min_size=1)


@settings(max_examples=25, deadline=None)
@given(
    drawn=st.lists(st.tuples(weights, st.integers(0, 8), st.sampled_from(["all", "it", ""])), min_size=1, max_size=8),
    asked=st.lists(st.sampled_from(CONTENTS), unique=True),
    lost=st.integers(0, 20),
)
def test_it_says_what_the_versions_say(
    drawn: Sequence[tuple[dict[str, float], int, str]], asked: Sequence[str], lost: int
) -> None:
    """Versions get any earlier one as parent; after some all are remembered; one's record may be gone in the end."""
    store, versions = MemoryStore(), list[DatasetVersion]()
    for number, (held, parent, remembered) in enumerate(drawn):
        before = versions[parent % len(versions)].id if versions and parent else ""
        versions.append(version(before, held, f"reason {number}"))
        put(store, versions[-1])
        if remembered == "all":
            remember(store)
        elif remembered == "it":
            parents = {one.id: one for one in versions}
            remember_child(store, versions[-1], parents.get(before))
        same(history(store), versions, asked)
    remember(store)
    same(history(store), versions, asked)
    same(History.of(versions), versions, asked)
    heads = [
        row
        for rows in read(store, VERSIONS, pages(store, VERSIONS))
        for row in rows.to_pylist()
        if row["episodes"] is not None
    ]
    assert len(heads) == len(versions)
    leaves = [one for one in versions if one.id not in {other.parent for other in versions}]
    gone = leaves[lost % len(leaves)]
    store.delete(f"datasets/{gone.id}/version.json")
    same(history(store), [one for one in versions if one != gone], asked)


def test_a_gap_in_the_log_is_filled_before_a_child_is_added() -> None:
    """Of three versions one page is removed, as an error may advise: its version comes back first."""
    store = MemoryStore()
    made = [version("", dict.fromkeys(CONTENTS[:1], 1.0), "first")]
    for number in range(1, 4):
        made.append(version(made[-1].id, dict.fromkeys(CONTENTS[: number + 1], 1.0), f"number {number}"))
    for one, parent in zip(made[:3], [None, *made[:2]], strict=True):
        put(store, one)
        remember_child(store, one, parent)
    store.delete(VERSIONS.key(0, 1))
    child = version(made[0].id, dict.fromkeys(CONTENTS[:2], 2.0), "child")
    put(store, child)
    remember_child(store, child, made[0])
    same(history(store), [*made[:3], child], CONTENTS)


def test_one_more_episode_is_two_rows() -> None:
    store = MemoryStore()
    first = version("", dict.fromkeys(CONTENTS[:5], 1.0), "first")
    child = version(first.id, dict.fromkeys(CONTENTS, 1.0), "one more")
    for one in (first, child):
        put(store, one)
        remember(store)
    assert [len(rows) for rows in read(store, VERSIONS, pages(store, VERSIONS))] == [6, 2]
