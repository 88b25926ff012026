"""What every wire protocol says in its own words: an observation in, a chunk out, or something that needs no policy.

A dialect is a pure translator between frames and these records: transports carry its frames, and neither knows the
other. Observations leave it under our own keys (`volano.inference.session`), whatever the client calls them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from volano.embodiment.contract import Embodiment
from volano.errors import Code, ContractError, VolanoError, WireError
from volano.inference.guard import FloatArray

Frame = bytes | memoryview | str
"""What a client sent. A view stays as it is for as long as anything that was read of it is held."""
Coding = Literal["raw", "png", "jpeg"]
"""How images are sent: as arrays, or as files."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a robot and the gateway agreed on, in a protocol where they say hello."""

    coding: Coding
    """Of images; arrays are always understood."""
    unchanged: bool
    """Whether images that did not change may be named."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Observed:
    """A frame that asks for actions."""

    observation: Mapping[str, Any]
    """Under our keys, not yet held against the contract; images may be a `Picture` that is not decoded yet."""
    reference: Any = None
    """What the client wants to find again in the answer: whatever its dialect's `write` and `refuse` need of it."""
    session: str = ""
    """What the client calls its episode, if its protocol does: another one than before begins a new episode."""
    problem: VolanoError | None = None
    """Why it gets a refusal and no actions, where the frame itself could be read."""
    seq: int | None = None
    """Number of the question, in a protocol where terms are agreed on before any is asked."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """A frame that needs no policy: a ping, a reset, a question about the server."""

    reply: bytes | str | None
    """None says nothing."""
    boundary: bool = False
    """The client says that its episode ended, or that a new one begins."""
    terms: Terms | None = None
    """What is agreed on from now on; the client may be told how its policy stands."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """A checked chunk, and where it comes from."""

    chunk: FloatArray
    """(horizon, channels), physical units, within the contract's limits."""
    policy: str
    request: str
    rollout: str
    arm: str
    read_ms: float
    """Until the observation was decoded and checked,"""
    route_ms: float
    """then until its policy was known,"""
    infer_ms: float
    """then until the policy had answered."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What goes back."""

    frame: bytes | str | None
    """None says nothing."""
    ends: str = ""
    """Why the connection ends with it, as a code: the client cannot be understood, or may not ask. Empty: it stays."""
    waits: bool = False
    """The client has to wait, and expects to be told unasked how its policy stands."""


def told(error: VolanoError) -> str:
    """An error in one line for the outside: the code, what was wrong and what to do about it, or that the robot has to
    hold."""
    if isinstance(error, (WireError, ContractError)):
        return f"{error.code}  {error.cause}; {error.fix}"
    return f"{error.code}  hold: {error.cause}"


def is_parting(error: VolanoError) -> bool:
    """Whether the talk ends with an error: the client cannot be understood, or may not ask."""
    return error.code in {Code.WIRE_FRAME, Code.WIRE_LIMIT, Code.WIRE_AUTH}


class Dialect(Protocol):
    """One protocol."""

    def greet(self, robot: str, embodiment: Embodiment) -> bytes | None:
        """The frame that the server speaks first; None where the client does."""
        ...

    def read(self, embodiment: Embodiment, frame: Frame) -> Observed | Said:
        """Translate a frame; raises WireError for bytes that are none, or beyond the contract's size."""
        ...

    def write(self, embodiment: Embodiment, answer: Answer, observed: Observed) -> bytes:
        """The frame of an answer."""
        ...

    def refuse(self, error: VolanoError, observed: Observed | None) -> Reply:
        """Say by a code and one line why there is no action: hold for now (ServeError), or what was wrong (WireError,
        ContractError). `observed` is None when the frame could not be read."""
        ...
