"""A contract from a file is one, or is refused with a code; a hostile one names no file and breaks nothing later."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.data.bundles import ROVER
from volano.data.contracts import known_contracts, read_contract
from volano.embodiment.contract import Camera, Channel, Embodiment
from volano.embodiment.shipped import SHIPPED
from volano.errors import ConfigError, ContractError


def test_files_join_those_that_are_shipped(tmp_path: Path) -> None:
    (tmp_path / "rover.json").write_text(json.dumps(ROVER.to_json()))
    (tmp_path / "link.json").symlink_to(tmp_path / "rover.json")
    known = known_contracts([tmp_path / "rover.json", tmp_path / "link.json"])
    assert set(known) == {ROVER.fingerprint, *(robot.fingerprint for robot in SHIPPED.values())}
    assert known[ROVER.fingerprint] == ROVER


def test_every_shipped_contract_survives_its_file(tmp_path: Path) -> None:
    for tag, robot in SHIPPED.items():
        (tmp_path / tag).write_text(json.dumps(robot.to_json()))
        assert read_contract(tmp_path / tag).fingerprint == robot.fingerprint


@pytest.mark.parametrize(
    "data",
    [b"", b"[", b"[" * 200_000, b"{}", b"[]", b"\xff", b'{"tag": 1, "tag": 2}', b'{"rate_hz": NaN}', b"0" * (2 << 20)],
)
def test_what_is_no_contract_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "robot.json").write_bytes(data)
    with pytest.raises(ContractError):
        read_contract(tmp_path / "robot.json")


@pytest.mark.parametrize("name", ["none.json", "", "x" * 300])
def test_a_file_that_cannot_be_read_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="E-CONFIG-003"):
        read_contract(tmp_path / name)


def test_a_file_without_an_end_is_not_read_to_it() -> None:
    with pytest.raises(ContractError):
        read_contract(Path("/dev/zero"))


CAMERA: dict[str, Any] = {"name": "ego", "height": 64, "width": 64}
CHANNEL: dict[str, Any] = {"name": "speed", "unit": "m/s", "low": -1.0, "high": 1.0}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tag", "../rover"),
        ("tag", 5),
        ("family", "submarine"),
        ("body", ["single arm"]),
        ("control_mode", None),
        ("action_frame", "world"),
        ("rate_hz", "10"),
        ("rate_hz", True),
        ("horizon", 8.0),
        ("horizon", 1 << 40),
        ("execute", "4"),
        ("hold", ["nan", 0.0]),
        ("hold", ["x", "y"]),
        ("cameras", [{**CAMERA, "name": "../../x"}]),
        ("cameras", [CAMERA, CAMERA]),
        ("cameras", [{**CAMERA, "height": "64"}]),
        ("cameras", [{**CAMERA, "width": 0}]),
        ("state", [CHANNEL, CHANNEL]),
        ("state", [{**CHANNEL, "low": "a", "high": "b"}]),
        ("state", [{**CHANNEL, "high": 1e999}]),
        ("state", [{**CHANNEL, "unit": 1}]),
        ("action", [{**CHANNEL, "name": 1}, CHANNEL]),
    ],
)
def test_every_value_is_checked(field: str, value: Any) -> None:
    plain = json.loads(json.dumps(ROVER.to_json()))
    assert Embodiment.from_json(plain) == ROVER
    with pytest.raises(ContractError):
        Embodiment.from_json({**plain, field: value})


def test_names_that_meet_are_refused_however_a_contract_is_made() -> None:
    camera, channel = Camera(**CAMERA), Channel(**CHANNEL)
    for changes in ({"cameras": (camera, camera)}, {"state": (channel, channel)}, {"action": (channel, channel)}):
        with pytest.raises(ContractError, match="two"):
            replace(ROVER, **changes)
