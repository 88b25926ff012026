"""How fast a running gateway is for one robot: a synthetic robot of a given embodiment asks it, and says where the time
went.

The gateway tells with each answer what it spent on reading, routing and the policy; what is left of the round trip is
the network and what lies between. Asking and judging are apart: what is said follows from the samples alone.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volano.embodiment.contract import Embodiment
from volano.errors import Code, ServeError, WireError
from volano.inference.asking import Asker, trouble
from volano.inference.guard import FloatArray
from volano.inference.link import Link
from volano.inference.protocols.arrays import unpack

PHASES = ("pack", "network", "read", "route", "policy", "unpack")
_WARM = 3
"""First answers, which are not counted."""
TASK = "volano serve bench"
"""What the synthetic robot is asked to do; no rollout measures it."""
_SIGMA = 1.96
_MAX_TEXT = 200
_ADVICE = {
    "pack": "this machine packs slowly: give it more processor",
    "network": "the network, or what stands on it: come nearer, or send smaller pictures",
    "read": "the gateway decodes slowly: its machine is busy, or the pictures are large",
    "route": "the ledger is slow to say who runs what",
    "policy": "the policy: a smaller one, more replicas, or faster machines for them",
    "unpack": "this machine unpacks slowly: give it more processor",
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was found."""

    phases: Mapping[str, Sequence[float]]
    """By each of `PHASES`, and `answer` for the whole: seconds of every counted answer."""
    problems: Mapping[str, int]
    """Codes of answers without actions."""


@dataclass(frozen=True, kw_only=True)
class Quantile:
    """One, with its 95 % interval, in seconds."""

    value: float
    low: float
    high: float
    """Infinite where there are too few answers to bound it."""


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """What a synthetic robot perceives; an `Observation`."""

    images: Mapping[str, NDArray[np.uint8]]
    state: FloatArray


def synthetic(embodiment: Embodiment, random: np.random.Generator) -> Synthetic:
    """An observation that the contract allows: pictures of noise, which nothing makes smaller, and a state amid its
    limits."""
    pictures = {
        one.name: random.integers(0, 256, (one.height, one.width, 3)).astype(np.uint8) for one in embodiment.cameras
    }
    middle = [(one.low + one.high) / 2 for one in embodiment.state]
    return Synthetic(images=pictures, state=np.array(middle, np.float32))


def asker(embodiment: Embodiment, robot: str) -> Asker:
    """What the synthetic robot of that name says: every picture whole, so that each question costs the same."""
    return Asker(embodiment, robot, images="raw", name_unchanged=False, on_status=None)


def measure(
    link: Link,
    asking: Asker,
    embodiment: Embodiment,
    *,
    answers: int,
    pace_s: float,
    timeout_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Measured:
    """Ask for so many answers over the link of `asking`, one at a time and one every `pace_s`. Raises
    ServeError(E-SERVE-001) when there is no gateway, or it refuses the robot, before the first answer."""
    seen = synthetic(embodiment, np.random.default_rng(0))
    asking.start_episode(TASK.replace(" ", "-"), TASK)
    found: dict[str, list[float]] = {name: [] for name in (*PHASES, "answer")}
    problems: Counter[str] = Counter()
    for number in range(answers + _WARM):
        began = clock()
        frame = asking.ask(seen, TASK, number, link.number)
        packed = clock()
        reply = link.exchange(frame, timeout_s)
        answered = clock()
        try:
            told = _spent(asking, reply)
        except ServeError as error:
            if number == 0:
                cause = f"no answer: {error.code} {error.cause}"[:_MAX_TEXT]
                raise ServeError(Code.SERVE_UNAVAILABLE, cause, "check URL, key and embodiment") from error
            problems[error.code] += 1
        else:
            if number >= _WARM:
                spent = {"pack": packed - began, **told, "unpack": clock() - answered, "answer": clock() - began}
                spent["network"] = max(answered - packed - sum(told.values()), 0.0)
                for name, seconds in spent.items():
                    found[name].append(seconds)
        sleep(max(began + pace_s - clock(), 0.0))
    return Measured(phases=found, problems=problems)


def quantile(values: Sequence[float], share: float) -> Quantile:
    """A quantile of at least one value, and between which of the values it lies with 95 %, whatever their
    distribution (ranks, by the normal approximation)."""
    ordered = sorted(values)
    count = len(ordered)
    spread = _SIGMA * math.sqrt(count * share * (1 - share))
    low, high = math.floor(count * share - spread), math.ceil(count * share + spread)
    return Quantile(
        value=float(np.quantile(ordered, share)),
        low=ordered[max(low, 0)],
        high=ordered[high] if high < count else math.inf,
    )


def verdict(embodiment: Embodiment, measured: Measured) -> list[str]:
    """What limits, and whether it is enough for the robot, in sentences."""
    medians = {name: quantile(measured.phases[name], 0.5).value for name in PHASES}
    slowest = max(medians, key=lambda name: medians[name])
    whole = sum(medians.values())
    late = quantile(measured.phases["answer"], 0.99).value
    bridged = embodiment.horizon / 2 / embodiment.rate_hz
    enough = "a robot that never waits can use it" if late <= bridged else "chunks cannot bridge that: robots fall back"
    return [
        f"most of an answer's time is {slowest}, {medians[slowest] / whole:.0%} of the median: {_ADVICE[slowest]}",
        f"the p99 is {late * embodiment.rate_hz:.1f} ticks of {embodiment.rate_hz:g} Hz; half of the horizon is "
        f"{embodiment.horizon / 2:g}: {enough}",
    ]


def _spent(asking: Asker, reply: bytes | str) -> dict[str, float]:
    """What the gateway spent on an answer, in seconds. Raises ServeError where there are no actions, WireError for what
    is no answer."""
    if isinstance(reply, str):
        raise trouble(reply)
    asking.answered(reply)
    timing = unpack(reply).get("server_timing")
    names = {"read": "read_ms", "route": "route_ms", "policy": "infer_ms"}
    if not isinstance(timing, dict) or not all(isinstance(timing.get(name), float) for name in names.values()):
        raise WireError(Code.WIRE_FRAME, "the gateway does not say what it spent", "update it")
    return {phase: timing[name] / 1e3 for phase, name in names.items()}
