"""A robot is enrolled once, with a key that only it will know, and revoked for good."""

import json
import time
from functools import partial
from pathlib import Path

import pytest

from tests.unit.commands.test_upload import volano
from volano.embodiment.shipped import SHIPPED
from volano.errors import ConfigError, LedgerError, VolanoError
from volano.ledger.ledger import open_ledger
from volano.ledger.records import Choice, Situation


def test_a_robot_is_enrolled_with_its_key_and_revoked(tmp_path: Path) -> None:
    url, key = f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path / "arm.key"
    arguments = ("robot", "enroll", "arm-07", "sawyer", "--key", str(key), "--by", "ada", "--ledger", url)
    assert "would enroll arm-07" in volano(*arguments, "--plan")
    assert list(tmp_path.iterdir()) == []
    assert f"its key: {key}" in volano(*arguments)
    assert key.stat().st_mode & 0o777 == 0o600
    with open_ledger(url) as ledger:
        robot = ledger.robot_by_key(key.read_text())
        assert robot is not None
        assert (robot.id, robot.fingerprint) == ("arm-07", SHIPPED["sawyer"].fingerprint)
        with pytest.raises(ConfigError):
            volano(*arguments)
        nowhere = str(tmp_path / "nowhere" / "arm.key")
        with pytest.raises(ConfigError, match="there is no folder"):
            volano(*(nowhere if one == str(key) else one for one in arguments))
        with pytest.raises(ConfigError, match="no file with a robot's key"):
            volano("serve", "bench", "arm-07", "sawyer", "ws://127.0.0.1:1", "--key", nowhere)
        other = tmp_path / "other.key"
        with pytest.raises(LedgerError):
            volano(*(str(other) if one == str(key) else one for one in arguments))
        assert not other.exists(), "a key that opens nothing is left for nobody"
        assert "would revoke" in volano("robot", "revoke", "arm-07", "--by", "ada", "--ledger", url, "--plan")
        assert ledger.robot_by_key(key.read_text()) == robot
        volano("robot", "revoke", "arm-07", "--by", "ada", "--ledger", url)
        assert ledger.robot_by_key(key.read_text()) is None
        assert [(row.kind, row.actor) for row in ledger.audit()] == [
            ("robot.enrolled", "ada"),
            ("robot.revoked", "ada"),
        ]


def given(policy: str, situation: Situation) -> Choice:
    """Whatever the situation is."""
    del situation
    return Choice(rollout="", policy=policy, shadow=None, arm="", reason="current")


def test_robots_are_listed_with_what_they_ran_last(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with pytest.raises(LedgerError, match="no ledger"):
        volano("robot", "ls", "--ledger", url)
    for name in ("arm-07", "arm-08", "arm-09"):
        key = tmp_path / f"{name}.key"
        volano(
            *("robot", "enroll", name, "sawyer", "--key", str(key), "--by", "a", "--site", "hall-2"), "--ledger", url
        )
    with open_ledger(url) as ledger:
        now = time.time()
        for number, policy in enumerate(("a" * 64, "b" * 64)):
            ledger.assign_episode("arm-07", "task", f"e{number}", partial(given, policy), now - 500 + number)
        ledger.grant_upload("arm-07", "m" * 64, 1, 10, now - 300)
        ledger.grant_upload("arm-08", "m" * 64, 1, 10, now - 7200)
        ledger.revoke_robot("arm-09", "ada", now)
    lines = volano("robot", "ls", "--ledger", url).splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["arm-07", "arm-08", "arm-09"]
    assert "sawyer" in lines[0]
    assert "hall-2" in lines[0]
    assert "seen 5 min ago" in lines[0]
    assert f"policy {'b' * 12}" in lines[0]
    assert "seen 2 h ago" in lines[1]
    assert "no episode yet" in lines[1]
    assert "never seen" in lines[2]
    assert lines[2].endswith("REVOKED")
    found = json.loads(volano("robot", "ls", "--ledger", url, "--json"))
    assert [(one["robot"], one["policy"], one["revoked"]) for one in found] == [
        ("arm-07", "b" * 64, False),
        ("arm-08", None, False),
        ("arm-09", None, True),
    ]
    assert found[0]["seen_at"] == pytest.approx(now - 300)


@pytest.mark.parametrize(("name", "tag"), [("../x", "sawyer"), ("arm-07", "no such robot"), ("arm 07", "sawyer")])
def test_what_is_no_robot_is_refused(tmp_path: Path, name: str, tag: str) -> None:
    with pytest.raises(VolanoError):
        volano(
            *("robot", "enroll", name, tag, "--key", str(tmp_path / "key"), "--by", "ada"),
            *("--ledger", f"sqlite:///{tmp_path / 'ledger.db'}"),
        )
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize(
    ("to", "near", "named"),
    [("gateway", "127.0.0.1:5555", "gateway"), ("gateway:5555", "5555", "5555"), ("gateway:99999", "[::1]:0", "99999")],
)
def test_a_tunnel_wants_two_places(to: str, near: str, named: str) -> None:
    with pytest.raises(ConfigError, match=f"{named}' is not HOST:PORT"):
        volano("robot", "tunnel", to, "--at", near)


def test_a_tunnel_wants_files_that_can_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="belong together"):
        volano("robot", "tunnel", "gateway:1", "--at", "127.0.0.1:0", "--certificate", str(tmp_path / "x.pem"))
    with pytest.raises(ConfigError, match="cannot be used"):
        volano("robot", "tunnel", "gateway:1", "--at", "127.0.0.1:0", "--ca", str(tmp_path / "x.pem"))
