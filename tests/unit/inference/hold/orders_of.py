"""Orders and keys for the tests of HOLD."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from volano.inference.hold.orders import Authority, write_order
from volano.inference.hold.state import Order, Resume, Stop, Subject

ARM = Subject(robot="arm-07", embodiment="sawyer", site="hall-2")


def stop(scope: Mapping[str, str] = MappingProxyType({}), reason: str = "smoke") -> Stop:
    return Stop(id=secrets.token_hex(16), at=1e9, by="ada", reason=reason, scope=dict(scope))


def resume(*stops: Stop) -> Resume:
    return Resume(id=secrets.token_hex(16), at=1e9, by="eve", reason="clear", lifts=tuple(one.id for one in stops))


@dataclass(frozen=True, kw_only=True)
class Operators:
    """One who may stop, one who may resume as well."""

    stopper: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    resumer: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def authority(self) -> Authority:
        return Authority(stop=[self.stopper.public_key()], resume=[self.resumer.public_key()])

    def signed(self, order: Order) -> bytes:
        return write_order(order, self.stopper if isinstance(order, Stop) else self.resumer)
