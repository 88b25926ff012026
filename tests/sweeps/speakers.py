"""Who is sent hostile frames: each protocol with what its clients send, and all that happens to a frame before a policy
is asked. A protocol joins the sweep with one more `Speaker`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from serving.talk import completed
from tests.sweeps.mutations import mutate_json, mutate_lerobot
from tests.sweeps.mutations.mutate import Chance
from tests.sweeps.mutations.mutate_msgpack import damaged
from tests.unit.inference.protocols import gr00t_frames, lerobot_frames
from tests.unit.inference.protocols.lerobot_frames import SO101
from tests.unit.inference.protocols.wires import ARM, DIALECTS, FRAMES, IMAGES, OURS, PLACE, TERMS
from volano.embodiment.contract import Embodiment
from volano.errors import VolanoError
from volano.inference.kept import Kept, Named, digest
from volano.inference.pictures import opened
from volano.inference.protocols.arrays import pack
from volano.inference.protocols.dialect import Dialect, Frame, Observed, Said
from volano.inference.protocols.gr00t import Gr00t, token_of
from volano.inference.protocols.gr00t_http import Gr00tHttp
from volano.inference.protocols.lerobot import check_setup, read_observation, read_setup
from volano.inference.protocols.own import NAME, Own, ask
from volano.inference.protocols.protobuf import read_data, read_part
from volano.inference.session import Place, check_observation, frame_limit, read_request

_HERE = Place(episode="attempt-1", tick=3, explicit=True, prompt="", at_s=0.0, number=0)
_IDENTITY = {"robot": "arm-07", "embodiment": ARM.fingerprint, "task": "pick", "episode": "attempt-1", "tick": 4}
_SETUP = b"\x0a"
"""How a message begins that says who a client is; all others are parts of observations."""


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """A protocol under attack."""

    name: str
    valid: tuple[bytes, ...]
    """Frames as clients send them; every one of them is read."""
    read: Callable[[bytes | str], str]
    """Do with a frame all that happens before a policy is asked; returns what it was. Raises VolanoError."""
    damage: Callable[[bytes, Chance], bytes] = damaged
    """Make a hostile frame of a valid one."""


def heard_in_socket(dialect: Dialect, frame: bytes | str) -> str:
    """A WebSocket's message, of which the gateway has a view."""
    return heard(dialect, ARM, _HERE, memoryview(frame) if isinstance(frame, bytes) else frame)


def heard(dialect: Dialect, robot: Embodiment, place: Place | None, frame: Frame, kept: Kept | None = None) -> str:
    """Read, decode images, hold against the contract; a refusal is written as well."""
    observed: Observed | None = None
    try:
        found = dialect.read(robot, frame)
        if isinstance(found, Said):
            return "said"
        observed = found
        if found.problem is not None:
            raise found.problem
        observation = opened(robot, completed(kept, found))
        here = replace(place, explicit="volano" in observation) if place is not None else None
        read_request("arm-07", robot, "connection-7", here, observation, now=0.0)
    except VolanoError as error:
        reply = dialect.refuse(error, observed)
        assert reply.frame is not None
        assert len(reply.frame) < 2000, reply.frame
        assert isinstance(reply.frame, bytes) or reply.frame.isprintable(), reply.frame
        raise
    return "observed"


def heard_by_gr00t(frame: bytes | str) -> str:
    """A message of a REQ socket, whose token is read first: there are only bytes."""
    data = frame.encode() if isinstance(frame, str) else frame
    assert isinstance(token_of(data), str)
    return heard(Gr00t(), gr00t_frames.ARM, _HERE, data)


def heard_by_lerobot(frame: bytes | str) -> str:
    """A message of either call that carries a pickle; a refusal is a line of text."""
    data = frame.encode() if isinstance(frame, str) else frame
    try:
        if data.startswith(_SETUP):
            check_setup(SO101, read_setup(read_data(data)))
            return "said"
        limit = frame_limit(SO101)
        observed = read_observation(SO101, read_part(data)[1], "tidy up", limit)
        check_observation(SO101, observed.observation)
        read_request("so101-07", SO101, "connection-7", replace(_HERE, explicit=False), observed.observation, now=0.0)
    except VolanoError as error:
        line = f"{error.code}  {error.cause}"
        assert len(line) < 2000, line
        assert line.isprintable(), line
        assert lerobot_frames.KEY not in line, line
        raise
    return "observed"


def heard_by_own(frame: bytes | str) -> str:
    """A frame after a hello and one question, whose images may be named."""
    kept = Kept(ARM, TERMS)
    kept.keep(OURS, kept.completed(OURS | {"volano": PLACE}, _KNOWN), _KNOWN)
    return heard(Own(), ARM, _HERE, memoryview(frame) if isinstance(frame, bytes) else frame, kept)


_OWN = pack(OURS | {"volano": _IDENTITY})
_KNOWN = 3
_NAMES = {key: Named(seq=_KNOWN, sha256=digest(OURS[key])) for key in IMAGES}
_OWN_NAMED = ask(9, OURS | _NAMES | {"volano": PLACE})
_OWN_LATER = ask(10, OURS | dict.fromkeys(IMAGES[:1], _NAMES[IMAGES[0]]) | {"volano": PLACE})
SPEAKERS = (
    *(
        Speaker(
            name=name,
            valid=(*(frame() for frame in FRAMES[name].values()), *([_OWN] if name == "openpi" else [])),
            read=partial(heard_in_socket, dialect),
        )
        for name, dialect in DIALECTS.items()
        if name != NAME
    ),
    Speaker(
        name=NAME,
        valid=(*(frame() for frame in FRAMES[NAME].values()), _OWN_NAMED, _OWN_LATER),
        read=heard_by_own,
    ),
    Speaker(
        name="gr00t",
        valid=tuple(frame for name, frame in gr00t_frames.frames("key-of-arm-07") if name != "kill"),
        read=heard_by_gr00t,
    ),
    Speaker(
        name="gr00t-http",
        valid=tuple(body for _, body in gr00t_frames.bodies()),
        read=partial(heard, Gr00tHttp(), gr00t_frames.ARM, _HERE),
        damage=mutate_json.damaged,
    ),
    Speaker(
        name="lerobot",
        valid=(
            *(lerobot_frames.message(data) for _, data in lerobot_frames.setups()),
            *(lerobot_frames.message(data, 3) for _, data in lerobot_frames.observations()),
        ),
        read=heard_by_lerobot,
        damage=mutate_lerobot.damaged,
    ),
)
"""By the names under which the gateway listens."""
