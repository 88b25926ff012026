"""How often one robot may ask, how often one address may fail, and how many sockets it may hold; decisions over a clock
that is an argument.

Robots of one site often share an address, so that an address is judged by what fails there and by its sockets, and a
robot by its own questions. The names that are remembered are bounded in number.
"""

import ipaddress
from collections import Counter, OrderedDict
from dataclasses import dataclass

_MAX_NAMES = 4096
_IPV6_SITE_BITS = 64
"""Whoever has one IPv6 address has all of its /64."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a gateway takes, over all of its ports."""

    answers_per_s: float = 200.0
    """Questions of one robot, over all of its connections; two seconds' worth may come at once."""
    episodes_per_minute: float = 300.0
    """New episodes of one robot, each of which is a row in the ledger."""
    failures_per_s: float = 5.0
    """Unknown keys of one address; twenty seconds' worth may come at once."""
    sockets_per_address: int = 256
    sockets: int = 4096


class Buckets:
    """A token bucket for each name."""

    def __init__(self, per_s: float, burst: float) -> None:
        """`per_s` are given back each second, `burst` may be taken at once."""
        self._per_s = per_s
        self._burst = burst
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """What is left, and when that was so; the one taken from longest ago first."""

    def take(self, name: str, now: float) -> bool:
        """Take one; False when none is left, and then nothing is taken. `now` in monotonic seconds."""
        level = self._level(name, now)
        taken = level >= 1
        self._levels[name] = (level - taken, now)
        self._levels.move_to_end(name)
        if len(self._levels) > _MAX_NAMES:
            self._levels.popitem(last=False)
        return taken

    def is_empty(self, name: str, now: float) -> bool:
        """Whether `take` would say no."""
        return self._level(name, now) < 1

    def _level(self, name: str, now: float) -> float:
        level, then = self._levels.get(name, (self._burst, now))
        return min(self._burst, level + (now - then) * self._per_s)


class Sockets:
    """Open sockets, by address."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Count a socket; False when it is one too many, and then it is not counted."""
        if self._open[address] >= self._limits.sockets_per_address or self._open.total() >= self._limits.sockets:
            return False
        self._open[address] += 1
        return True

    def leave(self, address: str) -> None:
        """One that `enter` counted is closed."""
        self._open[address] -= 1
        if self._open[address] <= 0:
            del self._open[address]


def site_of(host: str) -> str:
    """The address that is counted for a socket's peer: of IPv6 the first half."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_SITE_BITS), strict=False))
