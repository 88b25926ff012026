"""A robot's side of Volano's own wire: what it says on its connection, and what the answers mean.

Images that did not change since a question that was answered are named, on the same connection and in the same episode
only; all others are sent whole, as arrays or as files. A gateway that does not know a name says so by E-WIRE-006, and
from then on everything is sent whole once more. Imports NumPy and msgpack only, and PyAV where images go as files.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from volano.embodiment.contract import Embodiment
from volano.embodiment.prefix import Prefix
from volano.errors import Code, ServeError, WireError
from volano.inference.guard import FloatArray, check_chunk
from volano.inference.kept import Named, Sent, digest
from volano.inference.protocols import own
from volano.inference.protocols.arrays import unpack
from volano.inference.protocols.dialect import Coding, Terms
from volano.inference.protocols.spellings import Picture
from volano.inference.session import IDENTITY, PREFIX, PROMPT, STATE, image_key

if TYPE_CHECKING:
    from volano.inference.encoding import Encoder

_LOG = logging.getLogger(__name__)
MAX_TEXT = 200
"""Characters that are kept of what a gateway says."""
Kind = Literal["answer", "hold", "status"]
OnStatus = Callable[[own.Status], None]


class Observation(Protocol):
    """What a robot perceives at one tick; any object with these two fields will do."""

    @property
    def images(self) -> Mapping[str, NDArray[np.uint8]]:
        """Camera name to RGB of shape (height, width, 3)."""
        ...

    @property
    def state(self) -> FloatArray:
        """Shape (number of state channels,), physical units."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """A chunk that may be executed, and where it came from."""

    chunk: FloatArray
    """Shape (horizon, channels), physical units, within the limits."""
    policy: str
    """Digest of the policy that acted."""
    request: str
    """The gateway's identifier of this answer."""
    rollout: str
    arm: str


@dataclass(frozen=True, kw_only=True, eq=False)
class _Shown:
    """An image that the gateway has."""

    seq: int
    image: NDArray[np.uint8]
    """A copy: a camera's driver may write into what it gave."""
    sent: Sent

    @cached_property
    def name(self) -> Named:
        """Worked out when it is named for the first time."""
        return Named(seq=self.seq, sha256=digest(self.sent))


class Asker:
    """What one robot says and hears."""

    def __init__(
        self, embodiment: Embodiment, robot: str, *, images: Coding, name_unchanged: bool, on_status: OnStatus | None
    ) -> None:
        """`on_status` is called by the connection's thread with each status that the gateway tells."""
        self._robot = embodiment
        self._name = robot
        self._wanted = self._terms = Terms(coding=images, unchanged=name_unchanged)
        self._on_status = on_status
        self._encoders = _encoders(embodiment, images)
        self._seq = 0
        self._connection = 0
        self._attempt, self._task = "", ""
        self._shown: dict[str, _Shown] = {}
        self._sent: dict[str, _Shown] = {}
        """Of the question that has no answer yet."""
        self.status: own.Status | None = None
        """What the gateway told last about the policy that this robot waits for; None where it had nothing to tell."""

    def hello(self) -> bytes:
        """The first frame of a connection."""
        return own.hello(self._robot, self._wanted)

    def greeted(self, frame: bytes) -> None:
        """Take the gateway's first frame; raises like `own.read_terms`. Called by the connection's thread."""
        self._terms = own.read_terms(self._robot, frame)
        self.status = None

    def heard(self, frame: bytes) -> Kind:
        """What a later frame is; a status is told on. Called by the connection's thread; raises WireError."""
        message = unpack(frame)
        kind = own.text(message, "type")
        if kind != "status":
            return "answer" if kind == "actions" else "hold"
        self.status = said = own.read_status(message)
        expected = "" if said.expected_s is None else f" of about {said.expected_s:.0f} s"
        _LOG.info("policy %s: %s, %.0f s%s %s", said.policy[:12], said.stage, said.elapsed_s, expected, said.cause)
        if self._on_status is not None:
            self._on_status(said)
        return "status"

    def start_episode(self, attempt: str, task: str) -> None:
        """Every question from now on belongs to this attempt."""
        self._attempt, self._task = attempt, task
        self.forget()

    def forget(self) -> None:
        """Send every image whole with the next question."""
        self._shown, self._sent = {}, {}

    def ask(
        self,
        observation: Observation,
        instruction: str,
        tick: int,
        connection: int,
        prefix: Prefix | None = None,
    ) -> bytes:
        """The frame of a question; `connection` numbers the connections, each of which starts anew."""
        if connection != self._connection:
            self.forget()
            self._connection = connection
        self._seq += 1
        place: dict[str, object] = {"robot": self._name, "task": self._task, "episode": self._attempt, "tick": tick}
        place |= {"embodiment": self._robot.fingerprint}
        if prefix is not None:
            place[PREFIX] = {"actions": prefix.actions, "delay": prefix.delay}
        self._sent = {}
        images = {image_key(name): self._image(name, image) for name, image in observation.images.items()}
        return own.ask(self._seq, {**images, STATE: observation.state, PROMPT: instruction, IDENTITY: place})

    def answered(self, reply: bytes) -> Answer:
        """The checked answer to the question asked last. Raises ServeError when the robot has to hold, WireError when
        the gateway refuses, E-WIRE-005 when no robot may execute it, E-WIRE-001 or E-WIRE-004 when it is no answer."""
        message = unpack(reply)
        kind, seq = own.text(message, "type"), message.get("seq")
        if seq is not None and (type(seq) is not int or seq != self._seq):
            raise WireError(Code.WIRE_FRAME, "the answer is to another question", "use a server that answers in order")
        if kind == "refused":
            self.forget()
            raise own.refusal(message)
        if seq is not None:  # else it was refused before it was read
            self._shown |= self._sent
        if kind == "hold":
            told = own.refusal(message)
            raise ServeError(told.code, f"hold: {told.cause}", "wait")
        texts = {name: own.text(message, name)[:MAX_TEXT] for name in ("policy", "request", "rollout", "arm")}
        return Answer(chunk=check_chunk(self._robot, message.get("actions")), **texts)

    def _image(self, camera: str, image: NDArray[np.uint8]) -> object:
        """The image's name where the gateway has it; else the image, as it is sent."""
        shown = self._shown.get(camera)
        if shown is not None and np.array_equal(shown.image, image):
            return shown.name
        file = self._file(camera, image)
        if self._terms.unchanged:
            kept = image.copy()
            self._sent[camera] = _Shown(seq=self._seq, image=kept, sent=kept if file is None else file)
        return image if file is None else own.image_file(file, image.shape)

    def _file(self, camera: str, image: NDArray[np.uint8]) -> Picture | None:
        """The image as a file, where that was asked for; one of another size goes as it is, and is refused in words."""
        if camera not in self._encoders or image.shape != self._encoders[camera].shape or image.dtype != np.uint8:
            return None
        encoder = self._encoders[camera]
        return Picture(coding=encoder.coding, data=encoder.encode(image))


def _encoders(embodiment: Embodiment, images: Coding) -> dict[str, "Encoder"]:
    """One for each camera, where images go as files."""
    if images == "raw":
        return {}
    from volano.inference.encoding import Encoder

    return {one.name: Encoder(images, one.height, one.width) for one in embodiment.cameras}


def trouble(problem: str) -> ServeError:
    """The error of a text that begins with its code, as a connection tells why there is no answer."""
    code, _, cause = problem.partition(" ")
    return ServeError(Code(code) if code in set(Code) else Code.SERVE_UNAVAILABLE, cause, "see the gateway")
