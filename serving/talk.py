"""What one frame of a robot deserves, whatever protocol it is in and whatever transport brought it."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from serving.exchange import Conversation, Exchanger
from serving.refusals import RefusalLog
from volano.errors import Code, ContractError, ServeError, VolanoError, WireError
from volano.inference.kept import Kept
from volano.inference.pictures import has_pictures, opened
from volano.inference.protocols.dialect import Answer, Dialect, Frame, Observed, Reply, Said

_LOG = logging.getLogger(__name__)
_FAILED = RefusalLog("answers")
"""A disk that is full fails every tick of every robot, and the log may lie on it."""


async def reply_to(exchanger: Exchanger, conversation: Conversation, dialect: Dialect, frame: Frame) -> Reply:
    """The answer, or what the protocol says without a policy, or that the robot must hold, or a refusal with which the
    talk may end. Never raises but for cancellation: to the outside go codes and one-line causes."""
    robot, received = conversation.robot, time.monotonic()
    observed: Observed | None = None
    try:
        exchanger.count(conversation)
        heard = dialect.read(robot.embodiment, frame)
        if isinstance(heard, Said):
            conversation.boundary |= heard.boundary
            if heard.terms is not None:
                conversation.kept = Kept(robot.embodiment, heard.terms)
            return Reply(frame=heard.reply, waits=heard.terms is not None)
        observed = heard
        answer = await _answer(exchanger, conversation, observed, received)
        with exchanger.writing(conversation):
            return Reply(frame=dialect.write(robot.embodiment, answer, observed))
    except ServeError as error:
        return dialect.refuse(error, observed)
    except (WireError, ContractError) as error:
        _LOG.warning("refused robot %s: %s", robot.id, error.cause)
        if observed is None:
            exchanger.note_unread(conversation, error, received)
        return dialect.refuse(error, observed)
    except VolanoError as error:  # ours, not the robot's: it may go on when a ledger that was busy is not
        _FAILED.note(robot.id, str(error))
        return dialect.refuse(_ours(f"{error.code}, see the gateway's log"), observed)
    except Exception:
        _LOG.exception("answering robot %s failed", robot.id)
        return dialect.refuse(_ours("the gateway failed"), observed)


async def _answer(exchanger: Exchanger, conversation: Conversation, observed: Observed, received: float) -> Answer:
    """The answer to a frame that could be read; raises like `Exchanger.answer`."""
    conversation.boundary |= observed.session != conversation.session
    conversation.session = observed.session
    try:
        if observed.problem is not None:
            raise observed.problem
        observation = completed(conversation.kept, observed)
        if has_pictures(observation):
            observation = await asyncio.to_thread(opened, conversation.robot.embodiment, observation)
        if conversation.kept is not None and observed.seq is not None:
            conversation.kept.keep(observed.observation, observation, observed.seq)
    except (WireError, ContractError) as error:
        exchanger.note_unread(conversation, error, received)
        raise
    return await exchanger.answer(conversation, observation, received)


def completed(kept: Kept | None, observed: Observed) -> Mapping[str, Any]:
    """The observation with the images that are named in it; raises like `Kept.completed`, and WireError(E-WIRE-001) for
    a question before the hello of a protocol that has one."""
    if observed.seq is None:
        return observed.observation
    if kept is None:
        raise WireError(Code.WIRE_FRAME, "the robot asks before it said hello", "say hello first")
    return kept.completed(observed.observation, observed.seq)


def _ours(cause: str) -> ServeError:
    return ServeError(Code.SERVE_UNAVAILABLE, cause, "see the gateway's log")
