"""How a gateway's process comes to its end: told once, it lets episodes end; told again, it ends at once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

_LOG = logging.getLogger(__name__)


class Ending:
    """Of one process. It belongs to the loop that runs when it is made."""

    def __init__(self, drain_s: float, close: Callable[[], None]) -> None:
        """`drain_s` is the longest that episodes may go on; `close` lets go of what a look waits for, and may be called
        more than once."""
        self._drain_s = drain_s
        self._close = close
        self._told = asyncio.Event()
        self.stop = asyncio.Event()
        """Set when the process ends now."""

    def tell(self) -> None:
        """Somebody wants the end."""
        if self._told.is_set():
            self._end()
        self._told.set()

    async def follow(self, drain: Callable[[float], Awaitable[None]]) -> None:
        """Once the end is wanted, give episodes their time; returns at the end."""
        await self._told.wait()
        if self._drain_s:
            draining, stopping = asyncio.ensure_future(drain(self._drain_s)), asyncio.ensure_future(self.stop.wait())
            done, left = await asyncio.wait({draining, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for one in left:
                one.cancel()
            if draining in done and (error := draining.exception()) is not None:
                _LOG.error("episodes were not waited for", exc_info=error)
        self._end()

    def _end(self) -> None:
        self._close()
        self.stop.set()
