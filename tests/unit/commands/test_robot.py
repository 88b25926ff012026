"""A robot is enrolled once, with a key that only it will know, and revoked for good."""

from pathlib import Path

import pytest

from tests.unit.commands.test_upload import volano
from volano.embodiment.shipped import SHIPPED
from volano.errors import ConfigError, LedgerError, VolanoError
from volano.ledger.ledger import open_ledger


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


@pytest.mark.parametrize(("name", "tag"), [("../x", "sawyer"), ("arm-07", "no such robot"), ("arm 07", "sawyer")])
def test_what_is_no_robot_is_refused(tmp_path: Path, name: str, tag: str) -> None:
    with pytest.raises(VolanoError):
        volano(
            *("robot", "enroll", name, tag, "--key", str(tmp_path / "key"), "--by", "ada"),
            *("--ledger", f"sqlite:///{tmp_path / 'ledger.db'}"),
        )
    assert not (tmp_path / "key").exists()
