"""Rollouts under every fault at once, thousands of them, each from a seed: the real judge, ledger, directory,
exchanger, leases and register, in a world that parts networks, sets clocks, loses and repeats messages and kills at
every commit.

`VOLANO_SEEDS=100000` runs so many. A seed that fails is run again by `python -m tests.sweeps.rollouts.simulate SEED`.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.sweeps.conftest import SWEPT
from tests.sweeps.rollouts.bugs import BUGS, planted
from tests.sweeps.rollouts.simulate import simulate, template

pytestmark = pytest.mark.slow
SEEDS = int(os.environ.get("VOLANO_SEEDS", "2000"))
_PARTS = 8
_MOST_FOR_A_BUG = 1500
_SAME = 12
FAULTS = (
    *(f"{kind} {edge} a commit of {who}" for kind in ("crash", "lose") for edge in ("before", "after")
      for who in ("an assignment", "a look")),
    "an assignment parted from the ledger", "a look parted from the ledger", "the store failed", "gateways crashed",
    "clocks jumped", "partitions", "messages lost", "messages repeated", "messages late", "messages held up", "stops",
    "stops while a policy thought", "resumes", "people rolled back", "uploads from offline robots",
    "uploads sent again", "ended promoted", "ended rolled_back", "ended needs_human",
)  # fmt: skip
"""Each has to have happened, or the sweep says nothing."""


@pytest.fixture(scope="module")
def prepared() -> Iterator[Path]:
    with template() as folder:
        yield folder


@pytest.mark.parametrize("part", range(_PARTS))
def test_every_invariant_holds_in_every_seed(
    part: int, prepared: Path, record_property: Callable[[str, object], None]
) -> None:
    counts, broken, seeds = Counter[str](), [], range(part, SEEDS, _PARTS)
    for seed in seeds:
        run = simulate(seed, prepared)
        counts += run.counts
        if run.broken:
            broken.append(f"python -m tests.sweeps.rollouts.simulate {seed}: {run.broken}")
    nothing = {"actions", "uploads", "resumes"}
    faults = sum(n for name, n in counts.items() if name not in nothing and not name.startswith(("E-", "ended")))
    record_property(
        SWEPT, f"{len(seeds)} rollouts, {faults} faults, {counts['actions']} actions of policies, {len(broken)} broken"
    )
    assert broken == []
    assert [fault for fault in FAULTS if not counts[fault] and len(seeds) >= 200] == []


def test_a_seed_is_the_same_each_time(prepared: Path) -> None:
    traces = [[simulate(seed, prepared).trace for seed in range(_SAME)] for _ in range(2)]
    assert traces[0] == traces[1]
    assert len(set(traces[0])) == _SAME


@pytest.mark.parametrize("bug", BUGS)
def test_a_safety_step_that_is_taken_out_is_noticed(
    bug: str, prepared: Path, record_property: Callable[[str, object], None]
) -> None:
    with planted(BUGS[bug]):
        for seed in range(_MOST_FOR_A_BUG):
            if broken := simulate(seed, prepared).broken:
                record_property(SWEPT, f"noticed by seed {seed}: {broken}")
                return
    pytest.fail(f"{_MOST_FOR_A_BUG} seeds notice nothing")
