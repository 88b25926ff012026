"""What an engine gains on the nano policy: bf16, compiled code, or both, against fp32 without a compiler.

    python -m benchmarks.engines --json FILE [--quick]

Each engine answers one observation after another, by turns with fp32 in the same process, on one thread; and says how
near its actions are to those of fp32.
"""

import time
from collections.abc import Sequence

import torch
from torch import nn

from benchmarks.report import Row, arguments_of, compared, measured, tell
from benchmarks.served_nano import nano_policy
from serving.proof import generated, prove
from serving.work import Work, answer
from volano.embodiment.shipped import SAWYER
from volano.model.engine import REFERENCE, Engine
from volano.model.policy import Policy

_ENGINES = (Engine(precision="bf16"), Engine(compiled=True), Engine(precision="bf16", compiled=True))
_WARM = 5


def awake() -> Policy:
    """The nano network; blocks that start as identities would compute the same in any engine."""
    policy = nano_policy()
    generator = torch.Generator().manual_seed(1)
    for module in policy.expert.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.1, generator=generator)
    return policy


def timed(policy: Policy, work: Sequence[Work], engine: Engine) -> float:
    """Milliseconds of a chunk, on average over the work."""
    began = time.perf_counter()
    for item in work:
        answer(policy, [item], engine)
    return (time.perf_counter() - began) / len(work) * 1e3


def rows_of(engine: Engine, rounds: int) -> list[Row]:
    """Speed and parity of one engine."""
    plain, other = awake(), awake()
    began = time.perf_counter()
    [parity] = prove(other, engine)
    took = time.perf_counter() - began
    work = [item for item in generated(SAWYER) if item.sample.prefix is None]
    for policy, way in ((plain, REFERENCE), (other, engine)):
        timed(policy, work[:_WARM], way)
    pairs = [(timed(other, work, engine), timed(plain, work, REFERENCE)) for _ in range(rounds)]
    ours, reference = zip(*pairs, strict=True)
    near = {"cosine": parity.cosine, "difference": parity.difference, "observations": parity.observations}
    return [
        compared(f"{engine.name}: a chunk", ours, reference, "fp32", unit="ms", better="lower") | near,
        measured(f"{engine.name}: proof before the first answer", [took], unit="s"),
    ]


def main() -> None:
    """The command line."""
    options = arguments_of(__doc__, "two minutes, most of it compiling").parse_args()
    rows = [row for engine in _ENGINES for row in rows_of(engine, 5 if options.quick else 30)]
    tell("engines", options.json, quick=options.quick, rows=rows, packages=("torch",))


if __name__ == "__main__":
    main()
