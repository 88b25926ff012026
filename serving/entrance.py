"""What every port of a gateway shares: who may come in, its encryption, what answers, and how long it may drain."""

from dataclasses import dataclass

from serving.admission import Admission
from serving.exchange import Exchanger
from serving.routes import RobotRecord
from serving.tls import Tls


@dataclass(frozen=True, kw_only=True)
class Entrance:
    """Of one gateway."""

    admission: Admission[RobotRecord]
    exchanger: Exchanger
    tls: Tls | None
    """None: the ports speak in the clear."""
    drain_s: float
    """How long answers under way may take at the end."""
