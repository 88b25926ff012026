"""Keys are made, exchanged by several hands, and what they vouch for is released and withdrawn, all by the command."""

import json
import time
from pathlib import Path

import pytest

from tests.unit.commands.test_upload import volano
from tests.unit.registry.folders import described
from volano.embodiment.shipped import SCOUT
from volano.errors import Code, ConfigError, LedgerError, PolicyError, ServeError, StorageError
from volano.ledger.ledger import open_ledger
from volano.registry.assignment import read_assignment
from volano.registry.confirmation import put_report
from volano.registry.director import Director
from volano.registry.keys import Keys
from volano.registry.release import check_folder
from volano.registry.report import sign_report
from volano.registry.signing import load_private_key
from volano.storage.open import open_store


class Place:
    """A platform's folders, and the options that name them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.keys = folder, folder / "keys"
        (folder / "store").mkdir()
        self.ledger = f"sqlite:///{folder / 'ledger.db'}"
        open_ledger(self.ledger).close()
        self.store = ("--store", str(folder / "store"))
        self.signed = ("--keys", str(self.keys), *self.store)
        self.root = ("--root", str(self.keys / "root.json"), *self.store)

    def look(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(volano("policy", "keys", "ls", *self.root, "--json"))
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_policy_is_released_and_withdrawn(place: Place) -> None:
    manifest = described(place.folder / "policy")
    release = (
        "policy",
        "release",
        str(place.folder / "policy"),
        "--by",
        "ada",
        "--ledger",
        place.ledger,
        *place.signed,
    )
    assert "would release" in volano(*release, "--plan")
    assert not place.keys.exists()
    assert "release 2" in volano(*release)
    assert "release 2" in volano(*release)
    assert place.look()["releases"] == {manifest.digest: 2}
    assert "renewed" in volano("policy", "renew", *place.signed)
    withdraw = ("policy", "withdraw", manifest.digest[:9], "--by", "ada", "--ledger", place.ledger, *place.signed)
    assert "in place nowhere" in volano(*withdraw, "--plan")
    where = ("policy", "ls", "--ledger", place.ledger)
    assert f"next: volano rollout new NAME {manifest.digest[:12]}" in volano(*where)
    with open_ledger(place.ledger) as ledger:
        ledger.set_current(SCOUT.fingerprint, manifest.digest, "ada", 1.0)
    assert f"would withdraw {manifest.digest}, in place for scout" in volano(*withdraw, "--plan")
    assert "next" not in volano(*where)
    (place.keys / "release.key").rename(place.keys / "away")
    with pytest.raises(PolicyError) as caught:
        volano(*withdraw)
    assert caught.value.code is Code.POLICY_KEYS
    with open_ledger(place.ledger) as ledger:
        assert [policy.status for policy in ledger.policies()] == ["released"]
    (place.keys / "away").rename(place.keys / "release.key")
    assert "withdrawn" in volano(*withdraw)
    assert place.look()["releases"] == {}
    with open_ledger(place.ledger) as ledger:
        assert [policy.status for policy in ledger.policies()] == ["withdrawn"]
    with pytest.raises(PolicyError) as caught:
        volano("policy", "verify", str(place.folder / "policy"), *place.root)
    assert caught.value.code is Code.POLICY_UNRELEASED


def test_a_key_is_exchanged_by_two_of_three_hands(place: Place, tmp_path: Path) -> None:
    assert "would make 3 root keys" in volano("policy", "keys", "make", str(place.keys), "--plan")
    assert not place.keys.exists()
    volano("policy", "keys", "make", str(place.keys))
    with pytest.raises(ConfigError):
        volano("policy", "keys", "make", str(place.keys))
    described(place.folder / "policy")
    volano("policy", "release", str(place.folder / "policy"), "--by", "ada", "--ledger", place.ledger, *place.signed)
    draft, before = tmp_path / "draft.json", place.look()
    rotate = ("policy", "keys", "rotate", "release", "--draft", str(draft), *place.signed)
    assert "would make a new key" in volano(*rotate, "--plan")
    volano(*rotate, "--key", str(place.keys / "root-1.key"))
    publish = ("policy", "keys", "publish", str(draft), *place.signed)
    assert "1 signatures are missing" in volano(*publish, "--plan")
    with pytest.raises(PolicyError) as caught:
        volano(*publish)
    assert caught.value.code is Code.POLICY_KEYS
    assert place.look() == before
    with pytest.raises(ConfigError):
        volano("policy", "keys", "sign", str(draft))
    volano("policy", "keys", "sign", str(draft), "--key", str(place.keys / "root-2.key"))
    volano(*publish)
    after = place.look()
    assert (before["root"], after["root"]) == (1, 2)
    assert before["releases"] == after["releases"]
    assert isinstance(before["roles"], dict)
    assert isinstance(after["roles"], dict)
    assert before["roles"]["targets"] != after["roles"]["targets"]
    assert before["roles"]["root"] == after["roles"]["root"]


def test_the_audit_is_signed_and_verified_against_the_store(place: Place) -> None:
    described(place.folder / "policy")
    volano("policy", "release", str(place.folder / "policy"), "--by", "ada", "--ledger", place.ledger, *place.signed)
    where = ("--ledger", place.ledger)
    assert "the first 1 rows" in volano("audit", "checkpoint", *where, *place.signed)
    found = json.loads(volano("audit", "verify", *where, *place.root, "--json"))
    assert (found["rows"], found["checkpoints"], found["uncovered"]) == (1, 1, 0)
    (place.folder / "ledger.db").unlink()
    open_ledger(place.ledger).close()
    with pytest.raises(LedgerError) as caught:
        volano("audit", "verify", *where, *place.root)
    assert caught.value.code is Code.LEDGER_CHAIN


def test_checkpoints_at_the_default_place_are_checked_or_said_not_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = Path(".volano")
    home.mkdir()
    place = Place(home)
    described(home / "policy")
    volano("policy", "release", str(home / "policy"), "--by", "ada")
    volano("audit", "checkpoint")
    verify = ("audit", "verify", "--json")
    assert json.loads(volano(*verify))["checkpoints"] == 1
    spelled = ("--ledger", f"sqlite:///{(home / 'ledger.db').absolute()}")
    root = ("--root", str(place.keys / "root.json"))
    for options in (spelled, ()):
        if not options:
            (place.keys / "root.json").rename("brought.json")
            root = ("--root", "brought.json")
        with pytest.raises(LedgerError, match="1 checkpoints") as caught:
            volano(*verify, *options)
        assert (caught.value.code, caught.value.exit_code) == (Code.AUDIT_CHECKPOINT, 5)
        assert json.loads(volano(*verify, *options, *root))["checkpoints"] == 1
    (home / "store").rename(tmp_path / "elsewhere")
    assert json.loads(volano(*verify))["checkpoints"] == 0
    with pytest.raises(StorageError):
        volano(*verify, *root)


def test_a_step_can_wait_for_robots_that_have_not_said_what_they_run(place: Place) -> None:
    described(place.folder / "policy")
    volano("policy", "release", str(place.folder / "policy"), "--by", "ada", "--ledger", place.ledger, *place.signed)
    where = ("--ledger", place.ledger)
    key = str(place.folder / "scout.key")
    volano("robot", "enroll", "scout-01", "scout", "--key", key, "--by", "ada", *where)
    public = volano("robot", "key", str(place.folder / "robot")).splitlines()[1]
    assert "would believe" in volano("robot", "trust", "scout-01", public, "--by", "ada", *where, "--plan")
    volano("robot", "trust", "scout-01", public, "--by", "ada", *where)
    assert "assigned nothing" in volano("robot", "running", *where, *place.root)
    manifest = check_folder(place.folder / "policy")
    keys, store, now = Keys(folder=place.keys), open_store(str(place.folder / "store")), time.time()
    director = Director(store, keys.key("director"), lambda: "0" * 32)
    releases = keys.trust.look(store, now)
    envelope = director.assign(releases, manifest.digest, subject="scout-01", contract=SCOUT.fingerprint, now=now)
    asked = ("robot", "running", *where, *place.root, "--policy", manifest.digest)
    with pytest.raises(ServeError, match="scout-01"):
        volano(*asked)
    assigned = read_assignment(envelope, releases)
    put_report(store, assigned, sign_report(assigned, load_private_key(place.folder / "robot" / "report.key"), now))
    assert "says so since" in volano(*asked)
    assert json.loads(volano(*asked, "--json"))[0]["runs"] == manifest.digest
