"""A robot's reports are believed by the key that a person named, as long as the robot is enrolled as it was then."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.ledger.samples import ROBOT
from volano.errors import LedgerError
from volano.ledger.ledger import open_ledger
from volano.ledger.robot_keys import robot_keys, trust_robot

FIRST, SECOND = "a" * 64, "b" * 64


def test_a_key_is_trusted_replaced_and_ends_with_the_robot(tmp_path: Path) -> None:
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        for robot, public in ((ROBOT.id, FIRST), ("nobody", FIRST)):
            with pytest.raises(LedgerError):
                trust_robot(ledger, robot, public, "ada", 10.0)
        ledger.enroll_robot(ROBOT, "key", "ada")
        for public in (FIRST, FIRST, SECOND):
            trust_robot(ledger, ROBOT.id, public, "ada", ROBOT.enrolled_at + 1)
        for public in ("", "A" * 64, "a" * 63):
            with pytest.raises(LedgerError):
                trust_robot(ledger, ROBOT.id, public, "ada", ROBOT.enrolled_at + 1)
        assert robot_keys(ledger) == {ROBOT.id: SECOND}
        assert [row.kind for row in ledger.audit()] == ["robot.enrolled", "robot.key", "robot.key"]
        ledger.revoke_robot(ROBOT.id, "ada", ROBOT.enrolled_at + 2)
        assert robot_keys(ledger) == {}
        ledger.enroll_robot(replace(ROBOT, enrolled_at=ROBOT.enrolled_at + 3), "other", "ada")
        assert robot_keys(ledger) == {}, "whoever enrolled it anew has not said whose word its reports are"
        trust_robot(ledger, ROBOT.id, SECOND, "ada", ROBOT.enrolled_at + 4)
        assert robot_keys(ledger) == {ROBOT.id: SECOND}
