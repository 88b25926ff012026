"""The wires of stock clients, byte for byte: what they send, and what they are greeted, answered and refused with.

`python -m tests.unit.inference.protocols.test_golden` writes the file anew.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.inference.protocols.wires import ANSWER, ARM, DIALECTS, FRAMES, OURS
from tests.unit.inference.test_layout import same
from volano.errors import Code, ContractError, ServeError
from volano.inference.pictures import opened
from volano.inference.protocols.dialect import Observed, Said

GOLDEN = Path(__file__).parents[3] / "golden" / "frames.json"
_LATE = ServeError(Code.SERVE_TIMEOUT, "no action within 1 s", "add replicas")
_OTHER = ContractError(Code.CONTRACT_MISMATCH, "arm: field 'x': the robot sent a, the contract has b", "send b")


def heard(dialect: str, frame: bytes) -> Observed | Said:
    return DIALECTS[dialect].read(ARM, frame)


def answers(name: str) -> dict[str, bytes | str | None]:
    """What a dialect says to each of its clients' frames, and beside it."""
    dialect = DIALECTS[name]
    said: dict[str, bytes | str | None] = {"greeting": dialect.greet("arm-07", ARM)}
    for what, frame in FRAMES[name].items():
        found = heard(name, frame())
        said[f"to {what}"] = found.reply if isinstance(found, Said) else dialect.write(ARM, ANSWER, found)
        if isinstance(found, Observed):
            said[f"hold, to {what}"] = dialect.refuse(_LATE, found).frame
            said[f"refusal, to {what}"] = dialect.refuse(_OTHER, found).frame
    said["refusal of noise"] = dialect.refuse(_OTHER, None).frame
    return said


def plain(frame: bytes | str | None) -> object:
    """As JSON holds it: bytes in hexadecimal."""
    return {"bytes": frame.hex()} if isinstance(frame, bytes) else frame


def everything() -> dict[str, Any]:
    return {
        name: {
            "clients": {what: frame().hex() for what, frame in frames.items() if what != "pictures"},
            "server": {what: plain(frame) for what, frame in answers(name).items()},
        }
        for name, frames in FRAMES.items()
    }


@pytest.mark.parametrize("name", DIALECTS)
def test_every_byte_is_as_it_was(name: str) -> None:
    assert everything()[name] == json.loads(GOLDEN.read_text())[name]


@pytest.mark.parametrize(("name", "what"), [(name, what) for name, frames in FRAMES.items() for what in frames])
def test_every_observation_is_the_same_under_our_keys(name: str, what: str) -> None:
    found = heard(name, FRAMES[name][what]())
    if isinstance(found, Said):
        assert what in {"reset", "ping", "hello", "episode start", "episode end"}
        assert found.boundary == (what in {"reset", "episode start", "episode end"})
        return
    assert found.problem is None
    observation = opened(ARM, found.observation)
    observation.pop("volano", None)
    if what == "pictures":  # a JPEG is not exact, and read in tests of pictures
        wrist = "observation/image/wrist_image_left"
        observation[wrist] = OURS[wrist]
    assert same(observation, OURS)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(everything(), indent=1) + "\n")
