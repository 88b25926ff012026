"""openpi's wire, for its clients and our own: the server greets with a map, then one map out for one map in.

What comes in arrives under the client's own names and in its spelling of arrays, which is also that of the answer. What
goes out is `actions` and, beside it, scalars, texts and maps only: openpi's chunk broker cuts every array of a reply.
"""

from volano.embodiment.contract import Embodiment
from volano.errors import Code, ContractError, VolanoError, WireError
from volano.inference.layout import arrange
from volano.inference.protocols.arrays import Message, pack, read
from volano.inference.protocols.dialect import Answer, Frame, Observed, Reply, Said, told
from volano.inference.session import PROTOCOL, frame_limit


class OpenPi:
    """Implements `Dialect`."""

    def greet(self, robot: str, embodiment: Embodiment) -> bytes:
        """Who the server takes the client for, and what it expects of it."""
        return pack(
            {
                "protocol": PROTOCOL,
                "robot": robot,
                "embodiment": embodiment.fingerprint,
                "tag": embodiment.tag,
                "horizon": embodiment.horizon,
                "execute": embodiment.execute,
                "channels": len(embodiment.action),
            }
        )

    def read(self, embodiment: Embodiment, frame: Frame) -> Observed | Said:
        """Every frame is an observation."""
        message = binary(embodiment, frame)
        return Observed(observation=arrange(embodiment, message.fields), reference=message.spelling)

    def write(self, embodiment: Embodiment, answer: Answer, observed: Observed) -> bytes:
        """The chunk, where it comes from, and what it took."""
        del embodiment
        return pack({"actions": answer.chunk, **origin(answer), **spent(answer)}, observed.reference)

    def refuse(self, error: VolanoError, observed: Observed | None) -> Reply:
        """A text, which openpi's client raises; only a robot that must hold may go on."""
        del observed
        ends = str(error.code) if isinstance(error, (WireError, ContractError)) else ""
        return Reply(frame=told(error), ends=ends)


def binary(embodiment: Embodiment, frame: Frame) -> Message:
    """The map in a binary frame of at most the contract's size; raises WireError for any other."""
    if isinstance(frame, str):
        raise WireError(Code.WIRE_FRAME, "the robot sent a text frame", "send binary frames")
    return read(frame, frame_limit(embodiment))


def origin(answer: Answer) -> dict[str, object]:
    """Where a chunk comes from, as texts and numbers."""
    return {
        "policy": answer.policy,
        "request": answer.request,
        "rollout": answer.rollout,
        "arm": answer.arm,
        "server_timing": {"infer_ms": answer.infer_ms},
    }


def spent(answer: Answer) -> dict[str, object]:
    """What an answer took, stage by stage, where the protocol has room for it."""
    return {"server_timing": {"read_ms": answer.read_ms, "route_ms": answer.route_ms, "infer_ms": answer.infer_ms}}
