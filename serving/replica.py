"""One policy as a Ray Serve replica: fetched, verified, loaded, warmed up, then asked through a door of its own.

No byte of a policy is used before its release, its assignment and its hashes held, and no engine answers before its
actions were held against the reference's.
"""

import logging
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.util import get_node_ip_address

from serving.door import Address, Door
from serving.permits import Permit
from serving.proof import prove, warm_up
from serving.work import MAX_BATCH, Work, answer, read
from volano.errors import Code, ContractError, ServeError, VolanoError
from volano.inference.session import IDENTITY
from volano.model.engine import Engine, Parity
from volano.model.folder import load
from volano.model.reuse import Memory
from volano.registry.agent import admit
from volano.registry.trust import trusted_from_json
from volano.storage.open import open_store

_LOG = logging.getLogger(__name__)
_MEMORY_BYTES = 256 << 20
"""For what robots showed last: a robot of three cameras of 224 x 224 and a backbone of width 1024 takes about 2 MB."""


class Replica:
    """Answers observations with one policy."""

    def __init__(self, policy: str, store: str, permit: Permit, engine: Engine) -> None:
        """`policy` is a digest, `store` a URL, `permit` what its gateway believes, `engine` how it computes. Returns
        when it is loaded; the warm-up goes on.

        Raises PolicyError like `volano.registry.agent.admit`, and when the files are no policy.
        """
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory(prefix="volano-policy-") as temporary:
            folder = Path(temporary) / "policy"
            known = trusted_from_json(permit.trusted)
            admit(open_store(store), known, permit.counter, policy, folder, time.time())
            self._policy = load(folder)
        self._tags = {codec.embodiment.fingerprint: tag for tag, codec in self._policy.codecs.items()}
        self._door: Door[Work] | None = None
        self._failure: VolanoError | None = None
        self._engine = engine
        self._parity: tuple[Parity, ...] = ()
        self._memory = Memory(_MEMORY_BYTES)
        threading.Thread(target=self._open, args=(policy,), name="warm-up", daemon=True).start()

    def _open(self, digest: str) -> None:
        """Answer to oneself first, then open the door; what goes wrong is told to who asks for the address."""
        try:
            warm_up(self._policy)
            self._parity = prove(self._policy, self._engine)
            self._door = Door(digest, self._read, self._answer, host=get_node_ip_address(), most=MAX_BATCH)
        except VolanoError as error:
            self._failure = error
        except Exception as error:  # the thread's edge: whatever a policy's network does
            _LOG.exception("policy %s cannot be warmed up", digest[:12])
            cause = f"its warm-up failed: {type(error).__name__}"
            self._failure = ServeError(Code.SERVE_UNAVAILABLE, cause, "see the replica's log")

    async def address(self) -> Address | None:
        """Where gateways ask this replica; None while it warms up. Raises what its warm-up raised."""
        if self._failure is not None:
            raise self._failure
        return None if self._door is None else self._door.address

    async def parity(self) -> tuple[Parity, ...]:
        """How near its engine is to the reference, for each robot; nothing for the reference."""
        return self._parity

    async def check_health(self) -> None:
        """Raise when nobody can ask any more: Serve starts another replica then."""
        if self._door is not None and not self._door.is_open:
            raise ServeError(Code.SERVE_UNAVAILABLE, "the replica's door is closed", "see its log")

    def _read(self, observation: Mapping[str, Any]) -> Work:
        """Raises ContractError(E-CONTRACT-002) for a robot that the policy does not know."""
        fingerprint = observation[IDENTITY]["embodiment"]
        if fingerprint not in self._tags:
            raise ContractError(
                Code.CONTRACT_UNKNOWN,
                f"this policy was not trained for contract {fingerprint[:12]}",
                f"it serves: {', '.join(sorted(self._tags.values()))}",
            )
        return read(self._policy.codec(self._tags[fingerprint]).embodiment, observation)

    def _answer(self, work: Sequence[Work]) -> list[NDArray[np.float32]]:
        return answer(self._policy, work, self._engine, self._memory)
