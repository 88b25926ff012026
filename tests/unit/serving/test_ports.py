"""Every port opens on both kinds of address, and says in the same words why it cannot."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from serving.admission import Admission
from serving.entrance import Entrance
from serving.exchange import Exchanger
from serving.gateway import Gateway, serve
from serving.listeners import LISTENERS, Listener
from serving.ports import bracketed, listening_socket
from tests.integration.gateways import Controllers, Directory
from volano.errors import Code, ServeError

HOSTS = ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here"))]
Opened = Gateway | Listener


def _discard(_: object) -> None: ...


async def gateway(host: str, port: int) -> Opened:
    return await serve(
        host, port, directory=Directory(), act=Controllers(), access=_discard, shadow=_discard, timeout_s=1.0
    )


def listener(name: str) -> Callable[[str, int], Coroutine[Any, Any, Opened]]:
    async def opened(host: str, port: int) -> Opened:
        directory = Directory()
        admission = Admission(directory.robot)
        exchanger = Exchanger(
            directory=directory,
            admission=admission,
            act=Controllers(),
            access=_discard,
            shadow=_discard,
            timeout_s=1.0,
        )
        entrance = Entrance(admission=admission, exchanger=exchanger, tls=None, drain_s=1.0)
        return await LISTENERS[name](host, port, entrance)

    return opened


OPENERS = {"gateway": gateway} | {name: listener(name) for name in LISTENERS}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", OPENERS)
def test_a_port_is_opened_once(name: str, host: str) -> None:
    async def open_twice() -> tuple[int, ServeError]:
        first = await OPENERS[name](host, 0)
        try:
            socket.create_connection((host, first.port), 10).close()
            with pytest.raises(ServeError) as caught:
                await OPENERS[name](host, first.port)
        finally:
            await first.stop()
        return first.port, caught.value

    port, error = asyncio.run(open_twice())
    assert error.code is Code.SERVE_UNAVAILABLE
    assert error.cause.startswith(f"cannot listen on {bracketed(host)}:{port}: ")


@pytest.mark.parametrize("host", HOSTS)
def test_a_socket_takes_a_free_port_and_no_other_s(host: str) -> None:
    with listening_socket(host, 0) as first, pytest.raises(ServeError) as caught:
        listening_socket(host, first.getsockname()[1])
    assert "in use" in caught.value.cause


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 0), ("127.0.0.1", 70_000), ("no such host", 0)])
def test_what_is_no_address_of_this_machine_is_refused(host: str, port: int) -> None:
    with pytest.raises(ServeError, match="cannot listen"):
        listening_socket(host, port)
