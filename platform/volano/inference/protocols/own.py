"""Volano's own wire, version 1: what `volano.inference.client` speaks, and the gateway answers, at the path `/volano`.

The robot says hello: its contract, how it sends images, and whether it names those that did not change. The gateway
repeats what is agreed; from then on questions are numbered, and each gets one answer with its number: actions, hold or
refused. Between them the gateway may say how a policy that is not ready yet stands. Arrays and image files are written
as vla-eval writes them, with keys that are texts. Every frame is a map with `type`.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from volano.embodiment.contract import Embodiment
from volano.errors import Code, ContractError, VolanoError, WireError
from volano.inference.kept import Named
from volano.inference.protocols.arrays import pack, unpack
from volano.inference.protocols.dialect import Answer, Coding, Frame, Observed, Reply, Said, Terms, is_parting
from volano.inference.protocols.openpi import binary, origin, spent
from volano.inference.protocols.spellings import VLA_EVAL, Picture
from volano.inference.session import IDENTITY

NAME = "volano"
"""First word of the path."""
VERSION = 1
Stage = Literal["starting", "warming", "failed", "ready"]
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_SEQ = 1 << 53
_HELLO = {"type", "version", "embodiment", "images", "unchanged"}
_ASK = {"type", "seq", "observation"}
_NAMED = {"same", "sha256"}


@dataclass(frozen=True, kw_only=True)
class Status:
    """How the policy stands that a robot waits for."""

    stage: Stage
    """`starting`: fetched, verified and loaded; `warming`: answers to itself first; `failed`: it is tried again later;
    `ready`: it answers, and no further status comes."""
    policy: str
    """Digest; empty when none is named."""
    elapsed_s: float
    """Since it was asked for."""
    expected_s: float | None
    """Which earlier loads took, the median; None when there were none."""
    cause: str = ""
    """Code of why it failed."""


def text(message: Mapping[str, Any], name: str) -> str:
    """A field that is a text; empty where there is none, or something else, which may not even be compared with one."""
    value = message.get(name)
    return value if isinstance(value, str) else ""


def hello(embodiment: Embodiment, terms: Terms) -> bytes:
    """The robot's first frame."""
    said = {"version": VERSION, "embodiment": embodiment.fingerprint}
    return pack({"type": "hello", **said, "images": terms.coding, "unchanged": terms.unchanged})


def ask(seq: int, observation: Mapping[str, Any]) -> bytes:
    """The robot's question; images are arrays, files, or named."""
    fields = {
        key: {"same": value.seq, "sha256": value.sha256} if isinstance(value, Named) else value
        for key, value in observation.items()
    }
    return pack({"type": "ask", "seq": seq, "observation": fields}, VLA_EVAL)


def image_file(file: Picture, shape: tuple[int, ...]) -> dict[str, object]:
    """An image of that shape that is sent as a file, in a question."""
    return {"__image__": True, "format": file.coding, "data": file.data, "shape": list(shape)}


def status(said: Status) -> bytes:
    """The frame of a status."""
    return pack({"type": "status", **asdict(said)})


def read_status(message: Mapping[str, Any]) -> Status:
    """The status in a frame of that type; raises WireError(E-WIRE-001) for a gateway that says another."""
    elapsed_s, expected_s = message.get("elapsed_s"), message.get("expected_s")
    stage: Any = text(message, "stage")
    numbers = [elapsed_s, *([] if expected_s is None else [expected_s])]
    if stage not in get_args(Stage) or not all(type(one) is float and math.isfinite(one) for one in numbers):
        raise WireError(Code.WIRE_FRAME, "the gateway's status is none", "use one version of both")
    texts = {name: text(message, name)[:100] for name in ("policy", "cause")}
    return Status(stage=stage, elapsed_s=float(elapsed_s or 0), expected_s=expected_s, **texts)


def read_terms(embodiment: Embodiment, frame: bytes) -> Terms:
    """What the gateway's hello agrees to. Raises WireError or ContractError when it refuses, speaks another version or
    knows the robot by another contract."""
    message = unpack(frame)
    if text(message, "type") == "refused":
        raise refusal(message)
    if text(message, "type") != "hello" or not _is_ours(message):
        sent = str(message.get("version"))[:20]
        raise WireError(
            Code.WIRE_FRAME, f"the server speaks version {sent}, this robot {VERSION}", "update the older one"
        )
    if text(message, "embodiment") != embodiment.fingerprint:
        raise _other_contract(text(message, "embodiment"), embodiment.fingerprint)
    return _terms(message)


def refusal(message: Mapping[str, Any]) -> WireError:
    """The error that a gateway tells a robot."""
    texts = {name: text(message, name)[:200] for name in ("code", "cause", "fix")}
    known = Code(texts["code"]) if texts["code"] in set(Code) else Code.WIRE_FRAME
    return WireError(known, texts["cause"], texts["fix"])


class Own:
    """Implements `Dialect`; which question was the last, and what was agreed on, is for the connection to remember."""

    def greet(self, robot: str, embodiment: Embodiment) -> None:
        """The robot speaks first."""
        del robot, embodiment

    def read(self, embodiment: Embodiment, frame: Frame) -> Observed | Said:
        """A hello, or a question."""
        fields = binary(embodiment, frame).fields
        kind = text(fields, "type")
        if kind == "hello":
            return _greeted(embodiment, fields)
        seq = fields.get("seq")
        if fields.keys() != _ASK or kind != "ask" or type(seq) is not int or not 0 <= seq < _MAX_SEQ:
            raise WireError(Code.WIRE_FRAME, "the frame is neither a hello nor a question with its number", _AS_WRITTEN)
        sent = fields["observation"]
        if not isinstance(sent, dict):
            raise WireError(Code.WIRE_FRAME, "the question has no observation", _AS_WRITTEN)
        observation = {key: _named(value) for key, value in sent.items()}
        problem = None
        if IDENTITY not in observation:
            problem = WireError(
                Code.WIRE_OBSERVATION, f"field {IDENTITY!r}: it is missing", "say who and where the robot is"
            )
        return Observed(observation=observation, reference=seq, seq=seq, problem=problem)

    def write(self, embodiment: Embodiment, answer: Answer, observed: Observed) -> bytes:
        """The chunk, where it comes from, and what it took."""
        del embodiment
        said = {"type": "actions", "seq": observed.reference, "actions": answer.chunk}
        return pack({**said, **origin(answer), **spent(answer)}, VLA_EVAL)

    def refuse(self, error: VolanoError, observed: Observed | None) -> Reply:
        """Refused, or hold; only a robot that cannot be understood, or may not ask, is parted with."""
        refused = isinstance(error, (WireError, ContractError))
        said = {"type": "refused" if refused else "hold", "seq": None if observed is None else observed.reference}
        said |= {"code": str(error.code), "cause": error.cause, "fix": error.fix if refused else ""}
        ends = refused and (observed is None or is_parting(error))
        return Reply(frame=pack(said), ends=str(error.code) if ends else "", waits=not refused)


_AS_WRITTEN = "send what docs/serving.md has"


def _greeted(embodiment: Embodiment, fields: Mapping[str, Any]) -> Said:
    if fields.keys() != _HELLO or not _is_ours(fields):
        sent = str(fields.get("version"))[:20]
        raise WireError(
            Code.WIRE_FRAME,
            f"the robot's hello is of version {sent!r}, the gateway's {VERSION}",
            "update the older one",
        )
    if text(fields, "embodiment") != embodiment.fingerprint:
        raise _other_contract(embodiment.fingerprint, text(fields, "embodiment"))
    terms = _terms(fields)
    said = {"version": VERSION, "embodiment": embodiment.fingerprint, "tag": embodiment.tag}
    said |= {"horizon": embodiment.horizon, "execute": embodiment.execute, "channels": len(embodiment.action)}
    return Said(
        reply=pack({"type": "hello", **said, "images": terms.coding, "unchanged": terms.unchanged}), terms=terms
    )


def _terms(fields: Mapping[str, Any]) -> Terms:
    if text(fields, "images") not in get_args(Coding) or type(fields.get("unchanged")) is not bool:
        known = ", ".join(get_args(Coding))
        raise WireError(
            Code.WIRE_FRAME,
            "the hello does not say how images are sent",
            f"say images: {known}; unchanged: true or false",
        )
    return Terms(coding=fields["images"], unchanged=fields["unchanged"])


def _is_ours(fields: Mapping[str, Any]) -> bool:
    version = fields.get("version")
    return type(version) is int and version == VERSION


def _other_contract(server: str, robot: str) -> ContractError:
    cause = f"the server knows this robot as {server[:12]!r}, its own contract is {robot[:12]!r}"
    return ContractError(Code.CONTRACT_MISMATCH, cause, "enroll the robot with its embodiment again")


def _named(value: object) -> object:
    """An image that is named, where a map says so."""
    if not isinstance(value, dict) or value.keys() != _NAMED:
        return value
    seq, sha256 = value["same"], value["sha256"]
    if type(seq) is not int or not 0 <= seq < _MAX_SEQ or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise WireError(Code.WIRE_FRAME, "an image is named by something else than number and SHA-256", _AS_WRITTEN)
    return Named(seq=seq, sha256=sha256)
