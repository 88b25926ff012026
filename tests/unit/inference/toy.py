"""A flow policy whose velocity is known exactly, and a robot that asks it over a network that takes some ticks.

Its data have two modes: it passes on the left, or on the right. Which one a chunk takes is for its noise to say, so
that chunks which do not go on from each other jump from side to side.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from volano.data.normalize import Quantiles
from volano.embodiment.contract import Camera, Channel, Embodiment
from volano.embodiment.prefix import Prefix
from volano.errors import Code, VolanoError
from volano.inference.chunking import ChunkQueue, Joining
from volano.inference.guard import check_chunk
from volano.model.actions import ActionCodec
from volano.model.prefix import gather, integrate_from

_EULER_STEPS = 5
_SIDES = tuple(Channel(name=name, unit="m", low=-2.0, high=2.0) for name in ("aside", "ahead"))
TOY = Embodiment(
    tag="toy",
    family="navigation",
    body="mobile base",
    cameras=(Camera(name="ego", height=16, width=16),),
    state=_SIDES,
    action=_SIDES,
    control_mode="positions",
    rate_hz=20.0,
    horizon=32,
    execute=6,
    hold=(0.0, 0.0),
)
CODEC = ActionCodec(
    embodiment=TOY,
    action=Quantiles(q01=(-2.0, -2.0), q99=(2.0, 2.0)),
    state=Quantiles(q01=(-2.0, -2.0), q99=(2.0, 2.0)),
    horizon=TOY.horizon,
    channels=3,
    state_channels=2,
)
"""One channel more than the robot has."""


def means(tick: int) -> Tensor:
    """Normalised chunks of the two modes at a tick, shape (2, H, K)."""
    angle = 0.15 * (tick + torch.arange(TOY.horizon, dtype=torch.float64))
    aside, ahead = 0.5 + 0.1 * angle.sin(), 0.2 * angle.cos()
    return torch.stack([torch.stack((side * aside, ahead, torch.zeros_like(ahead)), dim=1) for side in (-1.0, 1.0)])


def spread() -> Tensor:
    """How chunks of one mode differ from each other: smoothly, (H, H)."""
    row = torch.arange(TOY.horizon, dtype=torch.float64)
    return 0.2**2 * torch.exp(-((row[:, None] - row) ** 2) / (2 * 6.0**2)) + 1e-6 * torch.eye(TOY.horizon)


def velocity_of(tick: int, pinned: int = 0) -> Callable[[Tensor, Tensor], Tensor]:
    """E[noise - clean | Y_tau] of the mixture, in closed form; with `pinned` rows given clean, as a network that was
    trained with prefixes would know it."""
    modes, cov = means(tick), spread()

    def velocity(y_BHK: Tensor, tau_B: Tensor) -> Tensor:
        tau, y = tau_B[0].double().repeat(TOY.horizon), y_BHK.double()
        tau[:pinned] = 0
        clear = (1 - tau)[:, None]
        apart = y[:, None] - clear * modes  # samples, modes, H, K
        solved = torch.linalg.solve(clear * cov * clear.T + torch.diag(tau**2), apart)
        shares = torch.softmax(-0.5 * (apart * solved).sum(dim=(2, 3)), dim=1)
        clean = (shares[..., None, None] * (modes + cov @ (clear * solved))).sum(dim=1)
        slope: Tensor = (y - clean) / tau.clamp(min=1e-9)[:, None]
        return slope.to(y_BHK.dtype)

    return velocity


def toy_chunk(tick: int, prefix: Prefix | None, seed: int, trained: int = 0) -> NDArray[np.float32]:
    """What the policy answers to the observation of a tick, where it was trained with prefixes of `trained` rows."""
    noise = torch.randn(1, TOY.horizon, 3, generator=torch.Generator().manual_seed(seed))
    active = torch.zeros(1, TOY.horizon, 3)
    active[..., :2] = 1
    rows = np.zeros((1, TOY.horizon, 3), np.float32)
    if prefix is not None:
        rows[0] = CODEC.encode_prefix(prefix.actions)
    prefixes = gather([prefix], torch.from_numpy(rows), active, trained)
    velocity = velocity_of(tick, int(prefixes.pinned_B))
    return CODEC.decode(integrate_from(velocity, noise, _EULER_STEPS, prefixes)[0].numpy())


Delay = Callable[[int], int]
"""Ticks that the answer to a question takes, by the question's number."""
Answering = Callable[[int, Prefix | None, int], NDArray[np.float32]]


@dataclass(kw_only=True)
class Driven:
    """What became of a drive."""

    seams: list[float] = field(default_factory=list)
    """Steps between rows of different chunks."""
    steps: list[float] = field(default_factory=list)
    """Steps between rows of one chunk."""
    ages_s: list[float] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    """Ticks without an action."""
    refused: list[Code] = field(default_factory=list)
    delays: list[int] = field(default_factory=list)
    """What the queue expected, by tick."""


def drive(
    delay: Delay,
    *,
    joining: Joining = "real_time",
    ticks: int = 400,
    oldest_s: float = 3.0,
    answer: Answering = toy_chunk,
    robot: Embodiment = TOY,
) -> Driven:
    """Drive for some ticks; time is the tick over the rate."""
    queue: ChunkQueue[int] = ChunkQueue(robot=robot, joining=joining, oldest_s=oldest_s)
    found, asked, due, number, before = Driven(), None, 0, 0, None
    for tick in range(ticks):
        now = tick / robot.rate_hz
        for _ in range(2):  # an answer without delay arrives within the tick that asked
            if asked is not None and tick >= due:
                question, chunk = asked
                asked = None
                try:
                    queue.arrive(question, check_chunk(robot, chunk), number, tick)
                except VolanoError as error:
                    found.refused.append(error.code)
            if asked is None and queue.is_due():
                question = queue.question(tick, now)
                asked, due = (question, answer(tick, question.prefix, number)), tick + delay(number)
                number += 1
        found.delays.append(queue.delays.estimate)
        action = queue.take(now)
        if action is None:
            found.held.append(tick)
        else:
            found.ages_s.append(now - action.observed_at)
            if before is not None:
                step = float(np.linalg.norm(action.rows[0] - before[0]))
                (found.steps if action.source == before[1] else found.seams).append(step)
        before = None if action is None else (action.rows[0], action.source)
    return found
