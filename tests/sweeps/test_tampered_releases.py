"""Attacks on releases and assignments, each in fifty random variants, and ten thousand flipped bits: every one is
refused by a stable code before a byte of the policy is used, or changed nothing that counts.

What a stolen key can do is shown as well: SECURITY.md says the same.
"""

import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from tests.sweeps.conftest import SWEPT
from tests.unit.data.memory_store import MemoryStore
from tests.unit.registry.folders import NOW, Platform, described, platform
from volano.embodiment.shipped import CAR, SCOUT
from volano.errors import Code, PolicyError, StorageError
from volano.registry.assignment import Accepted, Assigned, accepted, judge, read_assignment, sign_assignment
from volano.registry.ceremony import add_signature, draft, newest_root
from volano.registry.director import ASSIGNED_S, Director, newest_assignment
from volano.registry.keys import ONLINE_S, at, make_keys, signed
from volano.registry.metadata import Trusted, target_of, verify
from volano.registry.release import fetch, publish
from volano.registry.trust import newest_timestamp, paper_key, read_papers
from volano.storage.content import sha256_bytes

pytestmark = pytest.mark.slow
ROBOT, OTHER = "scout-01", "scout-02"
VARIANTS, FLIPS = 50, 10_000
STORED = {Code.STORE_MISSING}


@dataclass(kw_only=True)
class Scene:
    """A platform with history, and a robot that has followed it up to now. An attack changes a copy of it."""

    home: Platform
    store: MemoryStore
    trusted: Trusted
    last: Accepted
    policies: tuple[str, ...]
    """Released, oldest first; the robot is assigned the last."""
    past: list[dict[str, bytes]] = field(default_factory=list)
    """What the store held after each change, oldest first."""
    now: float = NOW + 10

    def copy(self) -> "Scene":
        store = MemoryStore()
        store.objects = dict(self.store.objects)
        return replace(self, store=store)

    def attempt(self, folder: Path) -> str:
        """What the robot makes of it: the code of a refusal, or the policy, with everything that counts about it."""
        try:
            releases = verify(read_papers(self.store, self.trusted), self.trusted, self.now)
            envelope = newest_assignment(self.store, ROBOT)
            assert envelope is not None
            found = judge(envelope, releases, self.last, subject=ROBOT, contract=SCOUT.fingerprint, now=self.now)
            fetch(self.store, releases.of(found.policy), folder)
        except (PolicyError, StorageError) as error:
            assert not folder.exists()
            return str(error.code)
        files = sorted((path.name, path.read_bytes()) for path in folder.iterdir())
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        return f"{found} {files}"

    def key(self, role: str) -> Ed25519PrivateKey:
        return self.home.keys.key(role)

    def assigned(self) -> Assigned:
        envelope = newest_assignment(self.store, ROBOT)
        assert envelope is not None
        return read_assignment(envelope, self.home.look(NOW + 10))

    def assign(self, key: str = "director", **changes: object) -> None:
        """A further assignment, by whoever holds a key."""
        assigned = replace(self.assigned(), counter=self.last.counter + 1, **changes)  # type: ignore[arg-type]
        self.put_assignment(sign_assignment(assigned, self.key(key)))

    def put_assignment(self, envelope: bytes) -> None:
        self.store.objects[f"assignments/{ROBOT}/{self.last.counter + 1:010d}.json"] = envelope

    def papers(self) -> dict[str, str]:
        """The key of the newest paper of each role."""
        timestamp = newest_timestamp(self.store)
        snapshot = Metadata[Timestamp].from_bytes(self.store.objects[paper_key("timestamp", timestamp)]).signed
        number = snapshot.snapshot_meta.version
        targets = Metadata[Snapshot].from_bytes(self.store.objects[paper_key("snapshot", number)]).signed
        version = targets.meta["targets.json"].version
        return {
            "timestamp": paper_key("timestamp", timestamp),
            "snapshot": paper_key("snapshot", number),
            "targets": paper_key("targets", version),
        }

    def publish(self, targets: bytes, version: int, online: Ed25519PrivateKey, *, name: int = 0) -> None:
        """A newest state of one's own, by whoever holds a key that signs it."""
        papers = self.papers()
        number = int(papers["snapshot"].split("/")[-1][:10]) + 1
        self.store.objects[paper_key("targets", version)] = targets
        meta = {"targets.json": MetaFile(version, len(targets), {"sha256": sha256_bytes(targets)})}
        snapshot = signed(Snapshot(version=number, expires=at(self.now + ONLINE_S), meta=meta), [online])
        self.store.objects[paper_key("snapshot", number)] = snapshot
        named = MetaFile(number, len(snapshot), {"sha256": sha256_bytes(snapshot)})
        timestamp = Timestamp(
            version=name or newest_timestamp(self.store) + 1, expires=at(self.now + ONLINE_S), snapshot_meta=named
        )
        self.store.objects[paper_key("timestamp", timestamp.version)] = signed(timestamp, [online])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Three releases, one after another; two of three root keys sign a root."""
    folder = tmp_path_factory.mktemp("scene")
    make_keys(folder / "keys", NOW, roots=3, threshold=2)
    store = MemoryStore()
    home = platform(folder, store)
    robot, director = home.robot(), Director(store, home.keys.key("director"), lambda: secrets.token_hex(16))
    last, policies, past = None, [], [dict(store.objects)]
    for number in range(3):
        policy = home.release(f"policy-{number}", bytes([number]) * 24, NOW + number).digest
        policies.append(policy)
        for name in (OTHER, ROBOT):
            envelope = director.assign(
                home.look(NOW + number), policy, subject=name, contract=SCOUT.fingerprint, now=NOW + number
            )
        trusted = robot.look(store, NOW + number).trusted
        last = accepted(read_assignment(envelope, home.look(NOW + number)), envelope)
        past.append(dict(store.objects))
    assert last is not None
    return Scene(home=home, store=store, trusted=trusted, last=last, policies=tuple(policies), past=past)


def flip(data: bytes, chance: Random) -> bytes:
    """Another byte somewhere."""
    changed = bytearray(data)
    changed[chance.randrange(len(changed))] ^= chance.randrange(1, 256)
    return bytes(changed)


def _file(scene: Scene, chance: Random, policy: str = "") -> str:
    prefix = f"policies/{policy or scene.policies[-1]}/"
    return chance.choice(sorted(key for key in scene.store.objects if key.startswith(prefix)))


def flipped_byte(scene: Scene, chance: Random) -> None:
    key = _file(scene, chance)
    scene.store.objects[key] = flip(scene.store.objects[key], chance)


def flipped_metadata(scene: Scene, chance: Random) -> None:
    key = scene.papers()[chance.choice(["snapshot", "targets"])]
    scene.store.objects[key] = flip(scene.store.objects[key], chance)


def old_release(scene: Scene, chance: Random) -> None:
    """The newest timestamps are deleted, so that an older state looks newest."""
    newest = newest_timestamp(scene.store)
    for version in range(chance.randrange(1, newest) + 1, newest + 1):
        del scene.store.objects[paper_key("timestamp", version)]


def old_store(scene: Scene, chance: Random) -> None:
    """The store is put back as it was, assignments included."""
    scene.store.objects = dict(chance.choice(scene.past[1:-1]))


def mix_and_match(scene: Scene, chance: Random) -> None:
    """A paper of one state under the name of another state's."""
    role = chance.choice(["snapshot", "targets"])
    newest = scene.papers()[role]
    others = [key for key in scene.store.objects if key.startswith(f"trust/{role}/") and key != newest]
    scene.store.objects[newest] = scene.store.objects[chance.choice(sorted(others))]


def mixed_policies(scene: Scene, chance: Random) -> None:
    """A file, or the manifest, of one released policy in another."""
    name = chance.choice(["manifest.json", "model.safetensors"])
    for key in [key for key in scene.store.objects if key.startswith(f"policies/{scene.policies[-1]}/{name}")]:
        other = f"policies/{chance.choice(scene.policies[:-1])}/{name}"
        scene.store.objects[key] = scene.store.objects[other]


def frozen_timestamp(scene: Scene, chance: Random) -> None:
    scene.now += ONLINE_S + chance.uniform(0, 365 * 86400)


def endless_metadata(scene: Scene, chance: Random) -> None:
    key = scene.papers()[chance.choice(["timestamp", "snapshot", "targets"])]
    scene.store.objects[key] += b" " * chance.randrange(8_000_001, 9_000_000)


def endless_roots(scene: Scene, chance: Random) -> None:
    for version in range(2, chance.randrange(80, 200)):
        scene.store.objects[paper_key("root", version)] = scene.store.objects[paper_key("root", 1)]


def endless_file(scene: Scene, chance: Random) -> None:
    scene.store.objects[_file(scene, chance)] += bytes(chance.randrange(1, 1 << 20))


def endless_assignment(scene: Scene, chance: Random) -> None:
    scene.put_assignment(bytes(chance.randrange(8193, 1 << 20)))


def wrong_robot(scene: Scene, chance: Random) -> None:
    keys = sorted(key for key in scene.store.objects if key.startswith(f"assignments/{OTHER}/"))
    scene.put_assignment(scene.store.objects[chance.choice(keys)])


def wrong_contract(scene: Scene, chance: Random) -> None:
    scene.assign(contract=chance.choice([CAR.fingerprint, "", chance.randbytes(32).hex()]))


def expired_assignment(scene: Scene, chance: Random) -> None:
    """Releases are signed anew, and the robot is shown an assignment that is over."""
    scene.assign(until=scene.now - chance.uniform(0, ASSIGNED_S))


def removed_file(scene: Scene, chance: Random) -> None:
    paper = scene.papers()[chance.choice(["snapshot", "targets"])]
    del scene.store.objects[chance.choice([paper, _file(scene, chance), _file(scene, chance)])]


def added_file(scene: Scene, chance: Random) -> None:
    name = chance.choice(["model.pkl", "modeling.py", ".hidden", "extra.json", "sub/config.json", "signature.json"])
    scene.store.objects[f"policies/{scene.policies[-1]}/{chance.randrange(10)}{name}"] = chance.randbytes(10)


def replayed_assignment(scene: Scene, chance: Random) -> None:
    """An assignment of before, under the newest name."""
    scene.put_assignment(
        scene.store.objects[f"assignments/{ROBOT}/{chance.randrange(1, scene.last.counter):010d}.json"]
    )


def second_assignment(scene: Scene, chance: Random) -> None:
    """Two assignments with one counter."""
    assigned = replace(scene.assigned(), nonce=chance.randbytes(16).hex())
    key = f"assignments/{ROBOT}/{scene.last.counter:010d}.json"
    scene.store.objects[key] = sign_assignment(assigned, scene.key("director"))


def silent_downgrade(scene: Scene, chance: Random) -> None:
    """A director that is mistaken: an older release, and no rollback."""
    policy = chance.choice(scene.policies[:-1])
    number = scene.home.look(scene.now).of(policy).number
    scene.assign(policy=policy, number=number, rollback=False)


def withdrawn_release(scene: Scene, chance: Random) -> None:
    newest = scene.papers()["targets"]
    targets = Metadata[Targets].from_bytes(scene.store.objects[newest]).signed
    targets.version += chance.randrange(1, 9)
    del targets.targets[target_of(scene.policies[-1])]
    scene.publish(signed(targets, [scene.key("release")]), targets.version, scene.key("online"))


def _with_a_trojan(scene: Scene, chance: Random) -> Targets:
    targets = Metadata[Targets].from_bytes(scene.store.objects[scene.papers()["targets"]]).signed
    digest = chance.randbytes(32).hex()
    targets.version += chance.randrange(1, 9)
    custom = {"number": targets.version, "embodiments": {"scout": SCOUT.fingerprint}}
    targets.targets[target_of(digest)] = TargetFile(9, {"sha256": digest}, target_of(digest), {"custom": custom})
    return targets


def stolen_online_key(scene: Scene, chance: Random) -> None:
    """It signs a list of releases of its own as well."""
    targets = _with_a_trojan(scene, chance)
    key = scene.key(chance.choice(["online", "director"]))
    scene.publish(signed(targets, [key]), targets.version, scene.key("online"))


def stolen_online_key_goes_back(scene: Scene, chance: Random) -> None:
    """It names an older list, which the release key did sign."""
    newest = scene.papers()["targets"]
    older = sorted(key for key in scene.store.objects if key.startswith("trust/targets/") and key != newest)
    key = chance.choice(older)
    scene.publish(scene.store.objects[key], int(key.split("/")[-1][:10]), scene.key("online"))


def stolen_online_key_says_two_things(scene: Scene, chance: Random) -> None:
    """A second timestamp with the number of the first, and a list of releases of before."""
    newest = scene.papers()["targets"]
    older = sorted(key for key in scene.store.objects if key.startswith("trust/targets/") and key != newest)
    key = chance.choice(older)
    version = int(key.split("/")[-1][:10])
    scene.publish(scene.store.objects[key], version, scene.key("online"), name=newest_timestamp(scene.store))
    scene.assign(policy=scene.policies[0], number=1)


def stolen_release_key(scene: Scene, chance: Random) -> None:
    """It signs a list of releases, and nobody says that it is the newest."""
    targets = _with_a_trojan(scene, chance)
    key = Ed25519PrivateKey.from_private_bytes(chance.randbytes(32))
    scene.publish(signed(targets, [scene.key("release")]), targets.version, chance.choice([key, scene.key("release")]))


def stolen_gateway(scene: Scene, chance: Random) -> None:
    """The online and the director's key together."""
    targets = _with_a_trojan(scene, chance)
    scene.assign(policy=chance.choice(list(targets.targets)).split("/")[1], number=targets.version)
    scene.publish(signed(targets, [scene.key("online"), scene.key("director")]), targets.version, scene.key("online"))


def stolen_director_key(scene: Scene, chance: Random) -> None:
    """It assigns what nobody released."""
    scene.assign(policy=chance.randbytes(32).hex(), number=chance.randrange(1, 99), rollback=chance.random() < 0.5)


def stranger_assigns(scene: Scene, chance: Random) -> None:
    assigned = replace(scene.assigned(), counter=scene.last.counter + 1)
    key = chance.choice([Ed25519PrivateKey.from_private_bytes(chance.randbytes(32)), scene.key("online")])
    scene.put_assignment(sign_assignment(assigned, key))


def stranger_releases(scene: Scene, chance: Random) -> None:
    """A whole state by keys that nobody named."""
    targets = _with_a_trojan(scene, chance)
    key = Ed25519PrivateKey.from_private_bytes(chance.randbytes(32))
    scene.publish(signed(targets, [key]), targets.version, key)


def stranger_root(scene: Scene, chance: Random) -> None:
    """The next root by too few of the root keys, or by none of them."""
    paper = Metadata[Root].from_bytes(scene.store.objects[paper_key("root", 1)])
    root = paper.signed
    root.version += 1
    key = Ed25519PrivateKey.from_private_bytes(chance.randbytes(32))
    signers = [key, *([scene.key(f"root-{chance.randrange(1, 4)}")] if chance.random() < 0.5 else [])]
    scene.store.objects[paper_key("root", 2)] = signed(root, signers)


def skipped_root(scene: Scene, chance: Random) -> None:
    """A root whose number does not follow, though enough root keys signed it."""
    paper = Metadata[Root].from_bytes(scene.store.objects[paper_key("root", 1)])
    paper.signed.version = chance.choice([1, *range(3, 9)])
    names = chance.sample(["root-1", "root-2", "root-3"], 2)
    scene.store.objects[paper_key("root", 2)] = signed(paper.signed, [scene.key(name) for name in names])


ATTACKS: dict[Callable[[Scene, Random], None], set[Code]] = {
    flipped_byte: {Code.POLICY_TAMPERED},
    flipped_metadata: {Code.POLICY_MIXED, Code.POLICY_FORMAT},
    old_release: {Code.POLICY_OLDER},
    old_store: {Code.POLICY_OLDER},
    mix_and_match: {Code.POLICY_MIXED},
    mixed_policies: {Code.POLICY_TAMPERED},
    frozen_timestamp: {Code.POLICY_EXPIRED},
    endless_metadata: {Code.POLICY_FORMAT},
    endless_roots: {Code.POLICY_FORMAT},
    endless_file: {Code.POLICY_TAMPERED},
    endless_assignment: {Code.POLICY_FORMAT},
    wrong_robot: {Code.POLICY_ASSIGNMENT},
    wrong_contract: {Code.POLICY_ASSIGNMENT},
    expired_assignment: {Code.POLICY_EXPIRED},
    removed_file: {Code.POLICY_MIXED, Code.POLICY_TAMPERED, Code.STORE_MISSING},
    added_file: {Code.POLICY_TAMPERED},
    replayed_assignment: {Code.POLICY_OLDER},
    second_assignment: {Code.POLICY_OLDER},
    silent_downgrade: {Code.POLICY_OLDER},
    withdrawn_release: {Code.POLICY_UNRELEASED},
    stolen_online_key: {Code.POLICY_SIGNATURE},
    stolen_online_key_goes_back: {Code.POLICY_OLDER},
    stolen_online_key_says_two_things: {Code.POLICY_MIXED},
    stolen_release_key: {Code.POLICY_SIGNATURE},
    stolen_gateway: {Code.POLICY_SIGNATURE},
    stolen_director_key: {Code.POLICY_UNRELEASED},
    stranger_assigns: {Code.POLICY_SIGNATURE},
    stranger_releases: {Code.POLICY_SIGNATURE},
    stranger_root: {Code.POLICY_SIGNATURE},
    skipped_root: {Code.POLICY_OLDER},
}


def test_without_an_attack_the_robot_runs_what_it_is_assigned(scene: Scene, tmp_path: Path) -> None:
    assert scene.policies[-1] in scene.copy().attempt(tmp_path / "policy")


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_every_variant_of_an_attack_is_refused_with_its_code(
    scene: Scene,
    tmp_path: Path,
    attack: Callable[[Scene, Random], None],
    record_property: Callable[[str, object], None],
) -> None:
    seen: Counter[str] = Counter()
    for number in range(VARIANTS):
        attacked = scene.copy()
        attack(attacked, Random(f"{attack.__name__} {number}"))
        seen[attacked.attempt(tmp_path / "policy")[:60]] += 1
    assert set(seen) <= set(ATTACKS[attack]), seen
    record_property(SWEPT, f"{VARIANTS} variants, refused: {dict(seen)}")


def test_a_flipped_bit_is_refused_or_changes_nothing_that_counts(
    scene: Scene, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    honest = scene.copy().attempt(tmp_path / "policy")
    read = [*scene.papers().values(), f"assignments/{ROBOT}/{scene.last.counter:010d}.json"]
    read += [key for key in sorted(scene.store.objects) if key.startswith(f"policies/{scene.policies[-1]}/")]
    seen: Counter[str] = Counter()
    for number in range(FLIPS):
        attacked, chance = scene.copy(), Random(f"bit {number}")
        key = read[number % len(read)]
        data = bytearray(attacked.store.objects[key])
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        attacked.store.objects[key] = bytes(data)
        outcome = attacked.attempt(tmp_path / "policy")
        seen["nothing changed" if outcome == honest else outcome[:60]] += 1
    assert all(name == "nothing changed" or name in set(Code) for name in seen), seen
    assert seen["nothing changed"] < FLIPS // 50, seen
    record_property(SWEPT, f"{FLIPS} bits flipped: {dict(seen)}")


def test_what_a_stolen_online_key_can_do_is_to_hide_what_is_newer_and_to_stop_everything(
    scene: Scene, tmp_path: Path
) -> None:
    frozen = scene.copy()
    frozen.now += 90 * 86400
    paper = frozen.store.objects[frozen.papers()["targets"]]
    version = int(frozen.papers()["targets"].split("/")[-1][:10])
    frozen.publish(paper, version, frozen.key("online"))
    frozen.assign(until=frozen.now + 1.0, issued_at=frozen.now)
    assert frozen.policies[-1] in frozen.attempt(tmp_path / "policy"), "as long as a director assigns"
    frozen.now += 365 * 86400
    frozen.publish(paper, version, frozen.key("online"))
    frozen.assign(until=frozen.now + 1.0, issued_at=frozen.now)
    assert frozen.attempt(tmp_path / "policy") == Code.POLICY_EXPIRED, "the release key's word ends after a year"


def test_what_a_stolen_director_key_can_do_is_to_choose_among_what_is_released(scene: Scene, tmp_path: Path) -> None:
    chosen = scene.copy()
    old = chosen.policies[0]
    chosen.assign(policy=old, number=chosen.home.look(chosen.now).of(old).number, rollback=True)
    assert f"policy='{old}'" in chosen.attempt(tmp_path / "policy")


def test_what_a_stolen_release_and_online_key_can_do_is_everything_until_the_root_is_changed(
    scene: Scene, tmp_path: Path
) -> None:
    taken = scene.copy()
    described(tmp_path / "trojan", b"\x66" * 24)
    manifest = publish(taken.store, tmp_path / "trojan")
    targets = _with_a_trojan(taken, Random(1))
    custom = {"number": targets.version, "embodiments": dict(manifest.embodiments)}
    path = target_of(manifest.digest)
    size = len(manifest.to_bytes())
    targets.targets[path] = TargetFile(size, {"sha256": manifest.digest}, path, {"custom": custom})
    taken.publish(signed(targets, [taken.key("release")]), targets.version, taken.key("online"))
    taken.assign(policy=manifest.digest, number=targets.version)
    assert manifest.digest in taken.attempt(tmp_path / "policy")
    root = newest_root(taken.store, taken.home.trust)
    paper = draft(root, "release", taken.home.keys, taken.now)
    for name in ("root-1", "root-2"):
        paper = add_signature(paper, taken.key(name))
    taken.store.objects[paper_key("root", 2)] = paper
    assert taken.attempt(tmp_path / "policy") == Code.POLICY_SIGNATURE
