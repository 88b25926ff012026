"""A tunnel on the robot, for clients that speak no TLS: they connect to it on the robot itself, and it carries their
bytes to the platform over TLS, shows the robot's certificate and verifies the platform's.

Each client gets a connection of its own, and nothing of what it says is read. Needs Python alone.
"""

import asyncio
import logging
import ssl
from contextlib import suppress
from dataclasses import dataclass

_LOG = logging.getLogger(__name__)
_CONNECT_S = 10.0
_BLOCK_BYTES = 256 << 10
_MAX_CLIENTS = 64


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a port is."""

    host: str
    port: int


async def carry(near: Place, far: Place, context: ssl.SSLContext) -> asyncio.Server:
    """Listen on the robot at `near`, port 0 for a free one, and carry each connection to `far`. Raises OSError when it
    cannot listen."""
    clients = 0

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal clients
        clients += 1
        try:
            if clients <= _MAX_CLIENTS:
                await _carry_one(reader, writer, far, context)
        except (OSError, TimeoutError) as error:
            _LOG.warning("no connection to %s:%d: %s", far.host, far.port, error)
        finally:
            clients -= 1
            writer.close()

    return await asyncio.start_server(client, near.host, near.port, limit=_BLOCK_BYTES)


async def _carry_one(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far: Place, context: ssl.SSLContext
) -> None:
    async with asyncio.timeout(_CONNECT_S):
        far_reader, far_writer = await asyncio.open_connection(
            far.host, far.port, ssl=context, server_hostname=far.host, limit=_BLOCK_BYTES
        )
    ways = [asyncio.ensure_future(_pump(reader, far_writer)), asyncio.ensure_future(_pump(far_reader, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        far_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_BLOCK_BYTES):
            writer.write(data)
            await writer.drain()
