"""Both ends of Volano's own wire without a socket between: whatever changes from question to question, the gateway has
the robot's whole observation, and hears of an unchanged image by name only."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from serving.talk import completed
from tests.unit.inference.protocols.wires import ANSWER, ARM, OURS, OUTSIDE, STATE, WRIST
from volano.errors import Code, ContractError, ServeError, VolanoError, WireError
from volano.inference.asking import Asker
from volano.inference.kept import Kept, Named
from volano.inference.pictures import opened
from volano.inference.protocols import own
from volano.inference.protocols.arrays import pack, unpack
from volano.inference.protocols.dialect import Coding, Observed, Said, Terms


@dataclass(frozen=True)
class Seen:
    images: dict[str, NDArray[np.uint8]]
    state: NDArray[np.float32]


_STATE = STATE.astype(np.float32)
SEEN = Seen({"exterior_image_0_left": OUTSIDE, "wrist_image_left": WRIST}, _STATE)


def asker(images: Coding = "raw", *, name_unchanged: bool = True, told: list[own.Status] | None = None) -> Asker:
    on_status = None if told is None else told.append
    return Asker(ARM, "arm-07", images=images, name_unchanged=name_unchanged, on_status=on_status)


@dataclass(kw_only=True)
class Server:
    """What a gateway does with a robot's frames, but for the policy."""

    kept: Kept | None = None
    sent: dict[str, Any] = field(default_factory=dict)
    """The last question as it came."""

    def hear(self, frame: bytes, problem: VolanoError | None = None) -> tuple[bytes, dict[str, Any]]:
        """The reply, and the whole observation."""
        wire, observed = own.Own(), None
        try:
            heard = wire.read(ARM, frame)
            if isinstance(heard, Said):
                assert heard.terms is not None
                assert isinstance(heard.reply, bytes)
                self.kept = Kept(ARM, heard.terms)
                return heard.reply, {}
            observed = heard
            return self._answer(wire, heard, problem)
        except VolanoError as error:
            frame_ = wire.refuse(error, observed).frame
            assert isinstance(frame_, bytes)
            return frame_, {}

    def _answer(self, wire: own.Own, observed: Observed, problem: VolanoError | None) -> tuple[bytes, dict[str, Any]]:
        self.sent = dict(observed.observation)
        whole = opened(ARM, completed(self.kept, observed))
        assert self.kept is not None
        assert observed.seq is not None
        self.kept.keep(observed.observation, whole, observed.seq)
        if problem is not None:
            raise problem
        return wire.write(ARM, ANSWER, observed), whole

    def named(self) -> list[str]:
        return [key.rpartition("/")[2] for key, value in self.sent.items() if isinstance(value, Named)]


def connected(robot: Asker) -> Server:
    server = Server()
    robot.greeted(server.hear(robot.hello())[0])
    return server


def test_an_answer_comes_with_its_origin_and_the_robot_sends_an_unchanged_image_once() -> None:
    robot = asker()
    server = connected(robot)
    robot.start_episode("attempt-1", "pick")
    for tick in range(3):
        reply, whole = server.hear(robot.ask(SEEN, "pick up the cup", tick, 1))
        assert all(np.array_equal(whole[key], value) for key, value in OURS.items() if key != "prompt")
        assert robot.heard(reply) == "answer"
        answer = robot.answered(reply)
        assert np.array_equal(answer.chunk, ANSWER.chunk)
        assert (answer.policy, answer.arm) == (ANSWER.policy, ANSWER.arm)
        assert server.named() == ([] if tick == 0 else ["exterior_image_0_left", "wrist_image_left"])


def test_images_of_a_question_that_was_refused_unread_are_sent_whole_again() -> None:
    robot = asker()
    server = connected(robot)
    robot.start_episode("attempt-1", "pick")
    robot.ask(SEEN, "pick", 0, 1)
    unread = own.Own().refuse(ServeError(Code.SERVE_RATE, "x", "y"), None).frame
    assert isinstance(unread, bytes)
    with pytest.raises(ServeError):
        robot.answered(unread)
    server.hear(robot.ask(SEEN, "pick", 1, 1))
    assert server.named() == []


@pytest.mark.parametrize("anew", ["connection", "episode", "hold of the first", "refusal", "no answer", "not wanted"])
def test_an_image_is_sent_whole_where_the_gateway_may_not_have_it(anew: str) -> None:
    robot = asker(name_unchanged=anew != "not wanted")
    server = connected(robot)
    robot.start_episode("attempt-1", "pick")
    first = robot.ask(SEEN, "pick", 0, 1)
    reply, _ = server.hear(first, ServeError(Code.SERVE_UNAVAILABLE, "x", "y") if anew.startswith("hold") else None)
    if anew == "hold of the first":
        with pytest.raises(ServeError):
            robot.answered(reply)
    elif anew != "no answer":
        robot.answered(reply)
    if anew == "episode":
        robot.start_episode("attempt-2", "pick")
    if anew == "refusal":
        refused, _ = server.hear(robot.ask(SEEN, "pick", 1, 1), WireError(Code.WIRE_IMAGE, "x", "y"))
        with pytest.raises(WireError) as caught:
            robot.answered(refused)
        assert caught.value.code is Code.WIRE_IMAGE
    server.hear(robot.ask(SEEN, "pick", 2, 2 if anew == "connection" else 1))
    assert bool(server.named()) is (anew == "hold of the first"), "a gateway that holds has read the observation"


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc"), st.sampled_from("skkkkre")), max_size=12),
    st.sampled_from(["raw", "png"]),
)
def test_whatever_changes_and_whatever_is_lost_the_gateway_has_what_the_robot_sees(
    steps: list[tuple[str, str, str]], coding: Coding
) -> None:
    robot, connection = asker(coding), 1
    server = connected(robot)
    robot.start_episode("attempt-0", "pick")
    shades = {name: np.full((4, 6, 3), number, np.uint8) for number, name in enumerate("abc")}
    for tick, (outside, wrist, happens) in enumerate(steps):
        if happens == "e":
            robot.start_episode(f"attempt-{tick + 1}", "pick")
        if happens == "s":  # the gateway forgets, and the robot does not know
            server.kept = Kept(ARM, Terms(coding=coding, unchanged=True))
        if happens == "r":
            server, connection = connected(robot), connection + 1
        seen = Seen({"exterior_image_0_left": shades[outside], "wrist_image_left": shades[wrist]}, _STATE)
        reply, whole = server.hear(robot.ask(seen, "pick", tick, connection))
        if not whole:
            assert happens == "s"
            with pytest.raises(WireError, match="E-WIRE-006"):
                robot.answered(reply)
            reply, whole = server.hear(robot.ask(seen, "pick", tick, connection))
        robot.answered(reply)
        assert np.array_equal(whole["observation/image/exterior_image_0_left"], shades[outside])
        assert np.array_equal(whole["observation/image/wrist_image_left"], shades[wrist])


def test_an_image_that_was_written_over_is_no_longer_the_same() -> None:
    robot = asker()
    server, image = connected(robot), OUTSIDE.copy()
    seen = Seen({**SEEN.images, "exterior_image_0_left": image}, _STATE)
    robot.answered(server.hear(robot.ask(seen, "pick", 0, 1))[0])
    image[0, 0] = 255
    _, whole = server.hear(robot.ask(seen, "pick", 1, 1))
    assert server.named() == ["wrist_image_left"]
    assert whole["observation/image/exterior_image_0_left"][0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("greeting", "code"),
    [
        ({"type": "hello", "version": 2, "embodiment": ARM.fingerprint}, Code.WIRE_FRAME),
        ({"type": "hello", "version": 1, "embodiment": "0" * 64}, Code.CONTRACT_MISMATCH),
        ({"type": "hello", "version": 1, "embodiment": ARM.fingerprint}, Code.WIRE_FRAME),
        ({"type": "refused", "code": "E-WIRE-004", "cause": "x", "fix": "y"}, Code.WIRE_LIMIT),
        ({"type": "refused", "code": "E-WHAT-001"}, Code.WIRE_FRAME),
    ],
)
def test_another_gateway_is_refused_before_anything_moves(greeting: dict[str, Any], code: Code) -> None:
    with pytest.raises((WireError, ContractError)) as caught:
        asker().greeted(pack(greeting))
    assert caught.value.code is code


def test_an_answer_to_another_question_is_none() -> None:
    robot = asker()
    server = connected(robot)
    reply, _ = server.hear(robot.ask(SEEN, "pick", 0, 1))
    robot.ask(SEEN, "pick", 1, 1)
    with pytest.raises(WireError, match="another question"):
        robot.answered(reply)


def test_a_status_is_told_on_and_is_no_answer() -> None:
    told: list[own.Status] = []
    robot = asker(told=told)
    said = own.Status(stage="starting", policy="a" * 64, elapsed_s=1.5, expected_s=20.0)
    assert robot.heard(own.status(said)) == "status"
    assert told == [said]
    assert robot.status == said
    for wrong in ({"stage": "what"}, {"stage": "ready", "elapsed_s": float("nan"), "expected_s": None}):
        with pytest.raises(WireError):
            robot.heard(pack({"type": "status", **wrong}))


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "ask", "seq": 1},
        {"type": "ask", "seq": -1, "observation": {}},
        {"type": "ask", "seq": True, "observation": {}},
        {"type": "ask", "seq": 1, "observation": []},
        {"type": "tell", "seq": 1, "observation": {}},
        {"type": "ask", "seq": 1, "observation": {"x": {"same": -1, "sha256": "0" * 64}}},
        {"type": "ask", "seq": 1, "observation": {"x": {"same": 1, "sha256": "0" * 63}}},
        {"type": "hello", "version": True, "embodiment": ARM.fingerprint, "images": "raw", "unchanged": True},
        {"type": "hello", "version": 1, "embodiment": ARM.fingerprint, "images": "gif", "unchanged": True},
    ],
)
def test_what_is_neither_hello_nor_question_ends_the_talk(frame: dict[str, Any]) -> None:
    with pytest.raises(WireError) as caught:
        own.Own().read(ARM, pack(frame))
    reply = own.Own().refuse(caught.value, None)
    assert isinstance(reply.frame, bytes)
    assert (unpack(reply.frame)["type"], reply.ends) == ("refused", "E-WIRE-001")


def test_a_question_before_the_hello_is_refused() -> None:
    reply, _ = Server().hear(asker().ask(SEEN, "pick", 0, 1))
    assert unpack(reply)["cause"] == "the robot asks before it said hello"
