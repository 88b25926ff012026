"""Who comes in: by key, by certificate, and not by trying again and again."""

import asyncio
import threading
import time

import pytest

from serving.admission import Admission, Caller, caller_at
from serving.limits import Limits
from serving.metrics import Metrics
from serving.routes import RobotRecord
from serving.tls import Certificate
from tests.integration.gateways import KEY, Directory
from volano.errors import ServeError, WireError

HERE, THERE = Caller(address="10.0.0.1"), Caller(address="10.0.0.2")
STRICT = Limits(failures_per_s=0.1)
"""Two failures at once."""


def code_of(admission: Admission[RobotRecord], key: str, caller: Caller = HERE) -> str:
    """What happens to a key: nothing, or the code of its refusal."""
    try:
        asyncio.run(admission.robot(key, caller, "openpi"))
    except (WireError, ServeError) as error:
        return str(error.code)
    return ""


def test_an_address_that_fails_again_and_again_is_not_looked_up_and_others_are() -> None:
    now = 0.0
    metrics = Metrics()
    admission = Admission(Directory().robot, limits=STRICT, metrics=metrics, clock=lambda: now)
    assert code_of(admission, KEY) == ""
    assert [code_of(admission, f"guess {number}") for number in range(4)] == ["E-WIRE-002"] * 2 + ["E-SERVE-004"] * 2
    assert code_of(admission, KEY) == "", "a robot that was here before goes on, also from there"
    assert code_of(admission, "guess", THERE) == "E-WIRE-002"
    now = 10.0
    assert code_of(admission, "guess") == "E-WIRE-002"
    text = metrics.text(0.0, ready=True).decode()
    assert 'volano_serving_refusals_total{code="E-SERVE-004",protocol="openpi"} 2.0' in text


def test_the_same_unknown_key_again_is_not_looked_up_and_counts_once() -> None:
    """A robot that was revoked tries for ever, and shares its address with those that were not."""
    now, looked = 0.0, list[str]()

    def find(key_sha256: str) -> None:
        looked.append(key_sha256)

    admission: Admission[RobotRecord] = Admission(find, limits=STRICT, clock=lambda: now)
    assert {code_of(admission, "revoked") for _ in range(50)} == {"E-WIRE-002"}
    assert len(looked) == 1
    now = 6.0
    assert code_of(admission, "revoked") == "E-WIRE-002"
    assert len(looked) == 2


def test_a_good_key_that_nobody_saw_yet_waits_behind_those_who_guess() -> None:
    admission = Admission(Directory().robot, limits=STRICT, clock=lambda: 0.0)
    for number in range(2):
        code_of(admission, f"guess {number}")
    assert code_of(admission, KEY) == "E-SERVE-004"
    assert code_of(admission, KEY, THERE) == ""


@pytest.mark.parametrize(
    ("shown", "code"),
    [
        (None, "E-WIRE-002"),
        (Certificate(name="rover-02", until=200.0), "E-WIRE-002"),
        (Certificate(name="", until=200.0), "E-WIRE-002"),
        (Certificate(name="rover-01", until=99.0), "E-WIRE-002"),
        (Certificate(name="rover-01", until=200.0), ""),
    ],
)
def test_key_and_certificate_have_to_agree(shown: Certificate | None, code: str) -> None:
    caller = Caller(address="10.0.0.1", certificate=shown)
    assert code_of(Admission(Directory().robot, certificates=True, now=lambda: 100.0), KEY, caller) == code
    assert code_of(Admission(Directory().robot, now=lambda: 100.0), KEY, caller) == "", "nobody asks for one"


def test_strangers_that_are_looked_up_slowly_take_no_thread_from_others() -> None:
    let = threading.Event()

    def slow(key_sha256: str) -> None:
        del key_sha256
        let.wait(30)

    async def crowd() -> tuple[float, list[str]]:
        admission: Admission[RobotRecord] = Admission(slow)
        asked = [asyncio.ensure_future(admission.robot(f"key {number}", HERE, "x")) for number in range(80)]
        await asyncio.sleep(0)
        began = time.monotonic()
        await asyncio.to_thread(lambda: None)
        took = time.monotonic() - began
        let.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        return took, [str(getattr(one, "code", "")) for one in found]

    took, codes = asyncio.run(crowd())
    assert took < 10, "whoever needs another thread gets one at once"
    assert codes.count("E-WIRE-002") == 64
    assert codes.count("E-SERVE-004") == 16


def test_sockets_are_counted_where_they_come_from() -> None:
    admission = Admission(Directory().robot, limits=Limits(sockets_per_address=1))
    assert admission.enter(("10.0.0.1", 5), "openpi")
    assert not admission.enter(("10.0.0.1", 6), "gr00t")
    assert admission.enter(("10.0.0.2", 5), "openpi")
    admission.leave(("10.0.0.1", 5), "openpi")
    assert admission.enter(("10.0.0.1", 7), "openpi")
    assert caller_at(None, None).address == ""


def test_what_strangers_say_is_read_by_threads_apart() -> None:
    async def read() -> tuple[str, list[str]]:
        admission = Admission(Directory().robot)
        name = await admission.apart(lambda: threading.current_thread().name)
        let = threading.Event()
        crowd = [asyncio.ensure_future(admission.apart(lambda: let.wait(30))) for _ in range(70)]
        await asyncio.sleep(0)
        let.set()
        found = await asyncio.gather(*crowd, return_exceptions=True)
        return name, [str(one.code) for one in found if isinstance(one, ServeError)]

    name, refused = asyncio.run(read())
    assert name.startswith("admission")
    assert refused == ["E-SERVE-004"] * 6
