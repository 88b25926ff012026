"""What a block of two episodes adds to a rollout's evidence, in whole numbers.

Every test of a rollout is a function of sums over blocks, and whole numbers have one sum in every order: what a block
said before a late upload is taken out exactly, and what it says now put in. So a look costs what is new, not what is
known, and gives the same bits as counting everything from the start.
"""

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from operator import add, sub

from volano.rollout.assign import ARMS, BLOCK, Arm, planned_arm
from volano.rollout.betting import NO_EVENTS, NO_GROWTH, Growth, event_growth, growth, shift_growth
from volano.rollout.guardrail import Guardrail
from volano.rollout.outcome import Outcome
from volano.rollout.plan import Rollout

Sums = dict[str, tuple[int, ...]]
"""Name of a test to its sums."""
MICRO = 1_000_000
"""Times and measures are counted in millionths."""
COUNTS = (
    "blocks",
    "complete",
    "awaited",
    "candidate_episodes",
    "candidate_successes",
    "current_episodes",
    "current_successes",
    "candidate_us",
    "safety_stops",
    "unlabelled",
    "set_aside",
    "repeated",
)
"""What `Sums["counts"]` counts, in this order; `candidate_us` are microseconds of labelled candidate episodes."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """One pair of episodes of a robot and task; at least one of them has arrived."""

    index: int
    robot: str
    task: str
    a: Outcome | None
    b: Outcome | None
    passed: bool
    """The robot has gone on to a later block, so that what is absent here is missing, not under way."""
    repeated: tuple[Outcome, ...]
    """Outcomes left aside because another episode has their counter."""
    strays: tuple[Outcome, ...]
    """Outcomes whose arm is not the planned one, or whose policy is not the arm's: also those of episodes that never
    came."""
    lost: tuple[Arm, ...]
    """Arms whose episode is not under way any more and is no evidence: its robot went on, or its record is a stray."""

    @property
    def usable(self) -> bool:
        """Whether the promotion tests look at it."""
        there = (self.a is not None) + (self.b is not None)
        return there > 0 and there + len(self.lost) == BLOCK


def block_of(document: Rollout, members: tuple[Outcome, ...], *, passed: bool) -> Block:
    """The block that these outcomes, of one robot, task and block and in the order of their episodes, make."""
    robot, task, index = members[0].robot, members[0].task, members[0].block
    first = planned_arm(document.salt, robot, task, BLOCK * index)
    policies: dict[Arm, str] = {"A": document.current, "B": document.candidate}
    slots: dict[Arm, Outcome] = {}
    strays: list[Outcome] = []
    repeated: list[Outcome] = []
    astray: set[Arm] = set()
    for outcome in members:
        arm: Arm = first if outcome.counter % BLOCK == 0 else "A" if first == "B" else "B"
        if outcome.arm != arm or outcome.policy != policies[arm]:
            strays.append(outcome)
            astray.add(arm)
        elif arm in slots:
            repeated.append(outcome)
        else:
            slots[arm] = outcome
    return Block(
        index=index,
        robot=robot,
        task=task,
        a=slots.get("A"),
        b=slots.get("B"),
        passed=passed,
        repeated=tuple(repeated),
        strays=tuple(strays),
        lost=tuple(arm for arm in ARMS if arm not in slots and (passed or arm in astray)),
    )


def gain(a: Outcome | None, b: Outcome | None) -> int:
    """Candidate's success minus current's: -1, 0 or 1. A missing label fails the candidate and passes the current."""
    candidate_success = b is not None and b.success is True
    current_success = a is None or a.success is not False
    return int(candidate_success) - int(current_success)


def intervention_shift(a: Outcome, b: Outcome) -> float:
    """Which arm had the block's interventions, weighted by exposure: within [-1, 1]; 0 when there were none.

    Given the number of interventions, each is the candidate's with its share of the block's time as probability, if
    the rates are equal; the mean is then 0. It is also 0 when interventions come in clusters and the arms are alike,
    because the arms' order was drawn at random, so one bad episode is one observation and not twenty.
    """
    events, longest = a.interventions + b.interventions, max(a.duration_s, b.duration_s)
    if not events or not a.duration_s or not b.duration_s:
        return 0.0
    return (b.interventions * a.duration_s - a.interventions * b.duration_s) / (events * longest)


def intervention_growth(a: Outcome, b: Outcome) -> Growth:
    """What a block's interventions do to the wagers; empty when there were none, or as many as its time deserves."""
    shift = intervention_shift(a, b)
    return shift_growth(shift, a.interventions + b.interventions) if shift else ()


def sums_of(document: Rollout, block: Block) -> Sums:
    """What a block adds to each test."""
    a, b = block.a, block.b
    counts = _counts(document, block)
    found: Sums = {"counts": counts, f"task/{block.task}": (1, counts[1])}
    if b is not None:
        found["floor"] = (int(b.success is True), int(b.success is not True))
    if block.usable:
        found["gain"] = _among_three(gain(a, b))
    if len(block.lost) == 1:
        found["ratio"] = (int("A" in block.lost), int("B" in block.lost))
    if a is not None and b is not None:
        if a.success is not None:
            found["harm"] = found[f"harm/{block.task}"] = _among_three(-gain(a, b))
        if shifted := intervention_growth(a, b):
            found["interventions"] = shifted
    for one in document.watch:
        if extra := _rate(one, a, b) if one.is_rate else _mean(one, a, b):
            found[f"guard/{one.name}"] = extra
    return found


def combine(
    sums: MutableMapping[str, tuple[int, ...]],
    change: Mapping[str, tuple[int, ...]],
    how: Callable[[int, int], int] = add,
) -> None:
    """Put a change into sums, or take it out (`sub`); what is nothing again is not kept."""
    for name, values in change.items():
        known = sums.get(name)
        total = tuple(map(how, known or (0,) * len(values), values))
        if any(total):
            sums[name] = total
        else:
            sums.pop(name, None)


def without(sums: MutableMapping[str, tuple[int, ...]], change: Mapping[str, tuple[int, ...]]) -> None:
    """Take out exactly what was put in."""
    combine(sums, change, sub)


def nothing(guardrail: Guardrail) -> tuple[int, ...]:
    """The sums of a guardrail of which nothing is known yet."""
    return (*NO_EVENTS, 0, 0) if guardrail.is_rate else (*NO_GROWTH, *(0,) * 6)


def _among_three(value: int) -> tuple[int, int, int]:
    return int(value < 0), int(value == 0), int(value > 0)


def _counts(document: Rollout, block: Block) -> tuple[int, ...]:
    a, b, present = block.a, block.b, [one for one in (block.a, block.b) if one is not None]
    seen_a, seen_b = a is not None and a.success is not None, b is not None and b.success is not None
    ran = [one for one in (*present, *block.strays, *block.repeated) if one.policy == document.candidate]
    return (
        int(block.usable),
        int(seen_a and seen_b),
        int(not block.usable and b is None and "B" not in block.lost),
        int(seen_b),
        int(b is not None and b.success is True),
        int(seen_a),
        int(a is not None and a.success is True),
        round(b.duration_s * MICRO) if b is not None and seen_b else 0,
        sum(one.safety_stops for one in ran),
        sum(one.success is None for one in present),
        len(block.strays),
        len(block.repeated),
    )


def _rate(guardrail: Guardrail, a: Outcome | None, b: Outcome | None) -> tuple[int, ...]:
    """Growth of the wagers, events of the candidate, and of the current policy."""
    if a is None or b is None or not a.duration_s or not b.duration_s:
        return ()
    current, candidate = (getattr(one, guardrail.metric) for one in (a, b))
    share = guardrail.limit * b.duration_s / (a.duration_s + guardrail.limit * b.duration_s)
    return (*event_growth(current + candidate, candidate, share), candidate, current)


def _mean(guardrail: Guardrail, a: Outcome | None, b: Outcome | None) -> tuple[int, ...]:
    """Growth of the wagers, then number, sum and sum of squares of the candidate's values, and of the current's."""
    values = [one.measures.get(guardrail.metric) if one is not None else None for one in (b, a)]
    if values == [None, None]:
        return ()
    kept = [None if value is None else min(max(value, 0.0), guardrail.most) for value in values]
    wealth = NO_GROWTH
    if (candidate := kept[0]) is not None:
        above = guardrail.direction == "above"
        bad = candidate - guardrail.limit if above else guardrail.limit - candidate
        wealth = growth(bad, guardrail.limit if above else guardrail.most - guardrail.limit)
    moments = [(0, 0, 0) if v is None else (1, round(v * MICRO), round(v * v * MICRO)) for v in kept]
    return (*wealth, *moments[0], *moments[1])
