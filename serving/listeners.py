"""The ports beside the gateway's own, by the name of what is spoken there; all answer through one exchanger."""

from collections.abc import Mapping
from functools import partial
from typing import Protocol

from serving.entrance import Entrance
from serving.grpc_listener import listen_lerobot
from serving.http_listener import listen_gr00t_http
from serving.zmq_listener import listen_gr00t


class Listener(Protocol):
    """One port that listens."""

    port: int

    async def stop(self) -> None:
        """End it after the answers in flight."""
        ...


class Listen(Protocol):
    """Opens a port."""

    async def __call__(self, host: str, port: int, entrance: Entrance) -> Listener:
        """Port 0 takes a free one. Raises ServeError(E-SERVE-001) when the address is taken or not of this machine."""
        ...


LISTENERS: Mapping[str, Listen] = {
    "gr00t": listen_gr00t,
    "gr00t-n1.5": partial(listen_gr00t, modality_text=True),
    "gr00t-http": listen_gr00t_http,
    "lerobot": listen_lerobot,
}
