"""What is released changes by one conditional put: killed anywhere, or done by several at once, nothing is lost."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.data.memory_store import Killed, MemoryStore
from tests.unit.registry.folders import NOW, Platform, described, platform
from volano.errors import Code, PolicyError
from volano.registry import repository
from volano.registry.ceremony import add_signature, draft, missing_signatures, newest_root, publish_root
from volano.registry.keys import ONLINE_S, TARGETS_S, make_keys
from volano.registry.metadata import Papers, verify
from volano.registry.release import publish
from volano.registry.trust import Trust, highest, paper_key, read_papers

DAY = 86400.0


def refused(home: Platform, now: float) -> Code:
    with pytest.raises(PolicyError) as caught:
        home.look(now)
    return caught.value.code


def test_releases_are_numbered_and_say_what_they_serve(tmp_path: Path) -> None:
    home = platform(tmp_path)
    assert dict(home.look().by_policy) == {}
    first, second = home.release("one"), home.release("two", bytes(24))
    found = home.look()
    assert found.of(first.digest).number < found.of(second.digest).number
    assert found.of(first.digest).embodiments == first.embodiments
    with pytest.raises(PolicyError) as caught:
        found.of("e" * 64)
    assert caught.value.code is Code.POLICY_UNRELEASED
    again = repository.release(home.store, home.keys, home.trust, first, NOW)
    assert again == found


def test_a_withdrawn_policy_is_gone_and_released_again_it_has_a_higher_number(tmp_path: Path) -> None:
    home = platform(tmp_path)
    first, second = home.release("one"), home.release("two", bytes(24))
    highest = home.look().of(second.digest).number
    repository.withdraw(home.store, home.keys, home.trust, first.digest, NOW)
    assert set(home.look().by_policy) == {second.digest}
    with pytest.raises(PolicyError) as caught:
        repository.withdraw(home.store, home.keys, home.trust, first.digest, NOW)
    assert caught.value.code is Code.POLICY_UNRELEASED
    assert repository.release(home.store, home.keys, home.trust, first, NOW).of(first.digest).number > highest


def test_what_nobody_signs_anew_expires_and_the_online_key_alone_renews_it(tmp_path: Path) -> None:
    home = platform(tmp_path)
    manifest = home.release("one")
    assert not repository.renew(home.store, home.keys, home.trust, NOW + 1)
    assert home.look(NOW + ONLINE_S - 1).of(manifest.digest)
    assert refused(home, NOW + ONLINE_S) is Code.POLICY_EXPIRED
    (home.keys.folder / "release.key").unlink()
    (home.keys.folder / "root.key").unlink()
    assert repository.renew(home.store, home.keys, home.trust, NOW + 2 * DAY)
    assert home.look(NOW + 2 * DAY).of(manifest.digest)
    with pytest.raises(PolicyError) as caught:
        repository.renew(home.store, home.keys, home.trust, NOW + TARGETS_S)
    assert caught.value.code is Code.POLICY_EXPIRED, "the release key has to come back once a year"


@pytest.mark.parametrize("later", [TARGETS_S / 2 + 1, TARGETS_S + 1])
def test_a_list_that_is_about_to_expire_or_did_is_signed_anew_by_releasing_what_it_holds(
    tmp_path: Path, later: float
) -> None:
    home = platform(tmp_path)
    manifest, now = home.release("one"), NOW + later
    before = home.look().of(manifest.digest)
    if later > TARGETS_S:
        with pytest.raises(PolicyError) as caught:
            repository.renew(home.store, home.keys, home.trust, now)
        assert "volano policy release FOLDER" in caught.value.fix
    repository.begin(home.store, home.keys, now)
    found = repository.release(home.store, home.keys, home.trust, manifest, now)
    assert found.of(manifest.digest) == before
    repository.renew(home.store, home.keys, home.trust, now + TARGETS_S * 0.9)
    assert home.look(now + TARGETS_S * 0.9).of(manifest.digest)


def test_a_store_full_of_unnamed_snapshots_is_refused(tmp_path: Path) -> None:
    home = platform(tmp_path)
    assert isinstance(home.store, MemoryStore)
    for number in range(2, 1002):
        home.store.put_new(paper_key("snapshot", number), b"{}")
    before = dict(home.store.objects)
    with pytest.raises(PolicyError, match="full of unnamed numbers"):
        repository.renew(home.store, home.keys, home.trust, NOW + DAY)
    assert home.store.objects == before


def prepared(folder: Path, begun: bool) -> tuple[MemoryStore, Platform, Callable[[str], object]]:
    """A platform that released one policy and has another in its store, and what may be killed there."""
    folder.mkdir()
    store, keys = MemoryStore(), make_keys(folder / "keys", NOW)
    home = Platform(store=store, keys=keys, trust=keys.trust, folder=folder)
    if not begun:
        return store, home, lambda _act: repository.begin(store, keys, NOW)
    repository.begin(store, keys, NOW)
    first, second = home.release("one"), described(folder / "two", bytes(24))
    publish(store, folder / "two")
    acts: dict[str, Callable[[], object]] = {
        "release": lambda: repository.release(store, keys, keys.trust, second, NOW),
        "withdraw": lambda: repository.withdraw(store, keys, keys.trust, first.digest, NOW),
        "renew": lambda: repository.renew(store, keys, keys.trust, NOW + DAY),
    }
    return store, home, lambda act: acts[act]()


@pytest.mark.parametrize(
    ("act", "puts", "releases"), [("release", 3, 2), ("withdraw", 3, 0), ("renew", 2, 1), ("begin", 4, 0)]
)
def test_a_change_that_is_killed_at_any_put_is_done_by_doing_it_again(
    tmp_path: Path, act: str, puts: int, releases: int
) -> None:
    now = NOW + DAY if act == "renew" else NOW
    for lives in range(puts + 1):
        store, home, change = prepared(tmp_path / str(lives), act != "begin")
        store.lives = lives
        if lives < puts:
            with pytest.raises(Killed):
                change(act)
            store.lives = None
            if act in {"release", "withdraw"}:
                assert len(home.look(now).by_policy) == 1, "nothing was committed"
        store.lives = None if lives < puts else puts
        change(act)
        store.lives = None
        assert len(home.look(now).by_policy) == releases


class Racing(MemoryStore):
    """Lets another writer go first just before each timestamp of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: list[object] = []

    def put_new(self, key: str, data: bytes) -> bool:
        if key.startswith("trust/timestamp/") and self.meanwhile:
            other = self.meanwhile.pop()
            assert callable(other)
            other()
        return super().put_new(key, data)


def test_of_two_that_release_at_once_neither_is_lost(tmp_path: Path) -> None:
    store = Racing()
    home = platform(tmp_path, store)
    manifests = [described(tmp_path / str(number), bytes([number]) * 24) for number in range(3)]
    for number in range(3):
        publish(store, tmp_path / str(number))
    one, two, three = manifests
    store.meanwhile = [
        lambda: repository.release(store, home.keys, home.trust, two, NOW),
        lambda: repository.release(store, home.keys, home.trust, three, NOW),
    ]
    found = repository.release(store, home.keys, home.trust, one, NOW)
    assert set(found.by_policy) == {manifest.digest for manifest in manifests}
    assert len({release.number for release in found.by_policy.values()}) == 3


def test_a_store_of_another_platform_is_left_alone(tmp_path: Path) -> None:
    home = platform(tmp_path)
    assert isinstance(home.store, MemoryStore)
    before = dict(home.store.objects)
    (tmp_path / "other").mkdir()
    other = make_keys(tmp_path / "other" / "keys", NOW)
    with pytest.raises(PolicyError) as caught:
        repository.begin(home.store, other, NOW)
    assert caught.value.code is Code.POLICY_KEYS
    assert before == home.store.objects


@pytest.mark.parametrize("role", ["release", "online", "director"])
def test_a_key_is_exchanged_and_the_old_one_counts_no_more(tmp_path: Path, role: str) -> None:
    home = platform(tmp_path)
    robot = home.robot()
    manifest = home.release("one")
    robot.look(home.store, NOW)
    old = home.keys.key(role).private_bytes_raw()
    directors = {key.public_bytes_raw() for key in home.look().directors}
    paper = add_signature(draft(newest_root(home.store, home.trust), role, home.keys, NOW), home.keys.key("root"))
    publish_root(home.store, home.keys, home.trust, paper, NOW)
    assert home.keys.key(role).private_bytes_raw() != old
    for trust in (robot, home.robot("new"), home.trust):
        assert trust.look(home.store, NOW).of(manifest.digest)
    changed = {key.public_bytes_raw() for key in home.look().directors} != directors
    assert changed == (role == "director")
    home.release("two", bytes(24))
    assert len(robot.look(home.store, NOW).by_policy) == 2


def test_a_writer_with_the_old_key_is_told_so(tmp_path: Path) -> None:
    home = platform(tmp_path)
    old = (home.keys.folder / "online.key").read_bytes()
    paper = add_signature(draft(newest_root(home.store, home.trust), "online", home.keys, NOW), home.keys.key("root"))
    publish_root(home.store, home.keys, home.trust, paper, NOW)
    (home.keys.folder / "online.key").write_bytes(old)
    with pytest.raises(PolicyError) as caught:
        repository.renew(home.store, home.keys, home.trust, NOW + DAY)
    assert caught.value.code is Code.POLICY_KEYS


@pytest.mark.parametrize("role", ["release", "online"])
def test_a_lost_key_is_replaced_even_when_its_ceremony_is_killed(tmp_path: Path, role: str) -> None:
    for lives in range(6):
        folder = tmp_path / str(lives)
        folder.mkdir()
        store = MemoryStore()
        home = platform(folder, store)
        manifest = home.release("one")
        root = newest_root(store, home.trust)
        (home.keys.folder / f"{role}.key").unlink()
        paper = add_signature(draft(root, role, home.keys, NOW), home.keys.key("root"))
        store.lives = lives
        try:
            publish_root(store, home.keys, home.trust, paper, NOW)
        except Killed:
            store.lives = None
            publish_root(store, home.keys, home.trust, paper, NOW)
        store.lives = None
        assert home.robot().look(store, NOW).of(manifest.digest)
        home.release("two", bytes(24))


def test_an_exchange_killed_at_any_put_leaves_robots_served_and_is_done_by_doing_it_again(tmp_path: Path) -> None:
    for lives in range(6):
        folder = tmp_path / str(lives)
        folder.mkdir()
        store = MemoryStore()
        home = platform(folder, store)
        manifest = home.release("one")
        paper = add_signature(draft(newest_root(store, home.trust), "online", home.keys, NOW), home.keys.key("root"))
        store.lives = lives
        try:
            publish_root(store, home.keys, home.trust, paper, NOW)
        except Killed:
            store.lives = None
            assert home.robot().look(store, NOW).of(manifest.digest)
            publish_root(store, home.keys, home.trust, paper, NOW)
        store.lives = None
        assert home.robot().look(store, NOW).of(manifest.digest)
        assert repository.renew(store, home.keys, home.trust, NOW + DAY)


def test_a_root_needs_its_threshold_of_signatures(tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "keys", NOW, roots=3, threshold=2)
    home = Platform(store=MemoryStore(), keys=keys, trust=keys.trust, folder=tmp_path)
    repository.begin(home.store, keys, NOW)
    root = newest_root(home.store, home.trust)
    paper = add_signature(draft(newest_root(home.store, home.trust), "release", keys, NOW), keys.key("root-1"))
    twice = add_signature(paper, keys.key("root-1"))
    assert missing_signatures(root, paper) == missing_signatures(root, twice) == 1
    for few in (paper, twice):
        with pytest.raises(PolicyError) as caught:
            publish_root(home.store, keys, home.trust, few, NOW)
        assert caught.value.code is Code.POLICY_KEYS
    publish_root(home.store, keys, home.trust, add_signature(paper, keys.key("root-3")), NOW)
    assert newest_root(home.store, home.trust).version == 2


def test_a_root_key_is_exchanged_like_any_other(tmp_path: Path) -> None:
    home = platform(tmp_path)
    paper = draft(newest_root(home.store, home.trust), "root", home.keys, NOW)
    paper = add_signature(add_signature(paper, home.keys.key("root")), home.keys.key("root-new-2"))
    publish_root(home.store, home.keys, home.trust, paper, NOW)
    paper = add_signature(draft(newest_root(home.store, home.trust), "online", home.keys, NOW), home.keys.key("root"))
    publish_root(home.store, home.keys, home.trust, paper, NOW)
    assert home.robot().look(home.store, NOW).by_policy == {}


def test_of_two_drafts_of_one_root_the_one_that_came_second_takes_no_place(tmp_path: Path) -> None:
    home = platform(tmp_path)
    root = home.keys.key("root")
    drafts = {
        role: add_signature(draft(newest_root(home.store, home.trust), role, home.keys, NOW), root)
        for role in ("online", "release")
    }
    kept = home.keys.key("release").private_bytes_raw()
    publish_root(home.store, home.keys, home.trust, drafts["online"], NOW)
    assert home.keys.key("release").private_bytes_raw() == kept
    with pytest.raises(PolicyError, match="another root 2 was published") as caught:
        publish_root(home.store, home.keys, home.trust, drafts["release"], NOW)
    assert caught.value.code is Code.POLICY_KEYS
    assert home.keys.key("release").private_bytes_raw() == kept
    publish_root(home.store, home.keys, home.trust, drafts["online"], NOW)
    home.release("one")
    assert home.robot().look(home.store, NOW).by_policy
    paper = draft(newest_root(home.store, home.trust), "release", home.keys, NOW)
    publish_root(home.store, home.keys, home.trust, add_signature(paper, root), NOW)
    assert home.keys.key("release").private_bytes_raw() != kept


def test_root_keys_with_numbers_stay_what_they_are(tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "keys", NOW, roots=3, threshold=2)
    store = MemoryStore()
    repository.begin(store, keys, NOW)
    before = {name: keys.key(name).private_bytes_raw() for name in ("root-1", "root-2", "root-3")}
    for role, changed in (("release", set()), ("root-3", {"root-3"}), ("online", {"root-3"})):
        paper = draft(newest_root(store, keys.trust), role, keys, NOW)
        signers = ["root-1", "root-2"] + [path.stem for path in keys.folder.glob("root-3-new-*.key")]
        for name in signers:
            paper = add_signature(paper, keys.key(name))
        publish_root(store, keys, keys.trust, paper, NOW)
        assert {name for name, key in before.items() if keys.key(name).private_bytes_raw() != key} == changed
    assert not keys.has("root")


def test_a_key_that_was_killed_while_it_took_its_place_takes_it_when_it_is_published_again(tmp_path: Path) -> None:
    home = platform(tmp_path)
    paper = add_signature(draft(newest_root(home.store, home.trust), "online", home.keys, NOW), home.keys.key("root"))
    private, public = (home.keys.folder / f"online-new-2.{suffix}" for suffix in ("key", "pub"))
    text = private.read_bytes()
    publish_root(home.store, home.keys, home.trust, paper, NOW)
    private.write_bytes(text)
    assert not public.exists()
    publish_root(home.store, home.keys, home.trust, paper, NOW)
    assert not private.exists()


def test_what_was_believed_is_kept_on_the_disk_and_never_gone_back_from(tmp_path: Path) -> None:
    home = platform(tmp_path)
    assert isinstance(home.store, MemoryStore)
    home.release("one")
    before = dict(home.store.objects)
    home.release("two", bytes(24))
    robot = home.robot()
    assert len(robot.look(home.store, NOW).by_policy) == 2
    home.store.objects = before
    assert len(home.robot("new").look(home.store, NOW).by_policy) == 1, "who never saw more believes what it is shown"
    for trust in (robot, home.robot()):  # also another process with the same disk
        with pytest.raises(PolicyError) as caught:
            trust.look(home.store, NOW)
        assert caught.value.code is Code.POLICY_OLDER
    home.robot().state.write_bytes(b"{}")
    with pytest.raises(PolicyError) as caught:
        robot.look(home.store, NOW)
    assert caught.value.code is Code.POLICY_FORMAT, "what was damaged is not begun anew"


def test_a_root_that_a_person_brings_anew_is_begun_from(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = platform(tmp_path / "a"), platform(tmp_path / "b")
    robot = Trust(anchor=tmp_path / "root.json", state=tmp_path / "trusted.json")
    for home in (first, second):
        robot.anchor.write_bytes(home.keys.anchor.read_bytes())
        assert robot.look(home.store, NOW).by_policy == {}
    with pytest.raises(PolicyError) as caught:
        robot.look(first.store, NOW)
    assert caught.value.code is Code.POLICY_SIGNATURE
    robot.anchor.unlink()
    with pytest.raises(PolicyError) as caught:
        robot.look(second.store, NOW)
    assert caught.value.code is Code.POLICY_KEYS


@pytest.mark.parametrize("role", ["roots", "timestamp", "snapshot", "targets"])
def test_papers_without_end_are_refused_however_they_came(tmp_path: Path, role: str) -> None:
    home = platform(tmp_path)
    known = home.trust.trusted()
    papers = read_papers(home.store, known)
    endless: dict[str, Papers] = {
        "roots": replace(papers, roots=(b"{}",) * 65),
        "timestamp": replace(papers, timestamp=papers.timestamp + b" " * 20_000),
        "snapshot": replace(papers, snapshot=papers.snapshot + b" " * 70_000),
        "targets": replace(papers, targets=papers.targets + b" " * (9 << 20)),
    }
    with pytest.raises(PolicyError, match="than is ever read"):
        verify(endless[role], known, NOW)


@pytest.mark.parametrize("last", [*range(20), 1000, 4095, 4096])
def test_the_last_of_a_series_is_found_by_asking_for_few_of_its_numbers(last: int) -> None:
    for after in (0, 1, last // 2, last, last + 1, last + 7):
        asked: list[int] = []

        def exists(number: int, asked: list[int] = asked) -> bool:
            asked.append(number)
            return 1 <= number <= last

        assert highest(exists, after, "numbers") == last
        assert len(asked) <= 3 + 2 * last.bit_length()
        assert len(asked) <= 2 or after not in {last} - {0}


def test_a_series_without_end_is_refused() -> None:
    with pytest.raises(PolicyError) as caught:
        highest(lambda _number: True, 0, "numbers")
    assert caught.value.code is Code.POLICY_FORMAT
