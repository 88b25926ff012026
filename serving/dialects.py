"""The protocols that a WebSocket may speak here, by the name that stands first in its path, and those of ports."""

from collections.abc import Mapping

from volano.inference.protocols.dialect import Dialect
from volano.inference.protocols.openpi import OpenPi
from volano.inference.protocols.own import NAME, Own
from volano.inference.protocols.roboarena import RoboArena
from volano.inference.protocols.starvla import StarVla
from volano.inference.protocols.vlaeval import VlaEval

DIALECTS: Mapping[str, Dialect] = {
    "openpi": OpenPi(),
    "roboarena": RoboArena(),
    "starvla": StarVla(),
    "vlaeval": VlaEval(),
    NAME: Own(),
}
DEFAULT = "openpi"
"""What a path that names none speaks, on a port that is not another's."""
