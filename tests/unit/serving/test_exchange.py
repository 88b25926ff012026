"""An exchanger that ends while a policy does not."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.exchange import Exchanger
from serving.routes import RobotRecord, Route
from tests.unit.data.bundles import ROVER
from volano.errors import Code, ServeError


class Nobody:
    """A directory that is not asked."""

    def robot(self, key_sha256: str) -> RobotRecord | None:
        raise AssertionError(key_sha256)

    def route(self, robot_id: str, task: str, episode: str) -> Route:
        raise AssertionError((robot_id, task, episode))


def test_a_policy_that_cannot_be_interrupted_keeps_no_gateway_from_stopping() -> None:
    async def ends() -> bool:
        released = asyncio.Event()

        async def stubborn(policy: str, observation: Mapping[str, Any]) -> NDArray[np.floating]:
            del policy, observation
            while not released.is_set():
                with suppress(asyncio.CancelledError):
                    await released.wait()
            return np.zeros((ROVER.horizon, len(ROVER.action)))

        exchanger = Exchanger(
            directory=Nobody(), act=stubborn, access=lambda _: None, shadow=lambda _: None, timeout_s=0.01
        )
        with pytest.raises(ServeError) as late:
            await exchanger._ask("a" * 64, ROVER, {})
        assert late.value.code is Code.SERVE_TIMEOUT
        done, _ = await asyncio.wait({asyncio.ensure_future(exchanger.stop())}, timeout=10)
        released.set()
        return bool(done)

    assert asyncio.run(ends())
