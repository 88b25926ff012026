"""Evidence weighed: from the sums of a rollout to the log e-values that the judge compares with its thresholds.

Every number is a function of whole sums, rounded to nine decimals, so that the last bits of a machine's logarithm
change no verdict's digest.
"""

from dataclasses import dataclass

from volano.rollout.betting import (
    NO_SHIFTS,
    SHIFTS,
    WAGERS,
    log_average,
    log_average_of_wagers,
    log_mean_of,
    log_wealth_of_counts,
    mean_interval,
)
from volano.rollout.evidence import Evidence
from volano.rollout.guardrail import Guardrail
from volano.rollout.tally import COUNTS, MICRO, Sums, nothing

_DECIMALS = 9
_GAINS = (-1.0, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How much there is."""

    blocks: int
    """Pairs that the promotion tests use."""
    complete: int
    """Pairs with both labels."""
    awaited: int
    """Pairs that are not usable yet, as the candidate's episode has not come and still may."""
    candidate_episodes: int
    """Labelled episodes under the candidate."""
    candidate_successes: int
    current_episodes: int
    current_successes: int
    candidate_hours: float
    """Robot-hours of the labelled candidate episodes."""
    safety_stops: int
    """In every episode that ran the candidate: planned or not, of pinned robots, beside other policies."""
    unlabelled: int
    """Planned episodes without a label."""
    set_aside: int
    """Outcomes whose arm is not the planned one, or whose policy is not the arm's."""
    repeated: int
    """Outcomes set aside because another episode has their robot, task and counter."""
    robots: int
    """Robots with a labelled candidate episode."""
    sites: int
    """Sites with a labelled candidate episode."""
    task_pairs: int
    """Pairs with both labels in the task that has fewest."""
    shadowed: int
    """Shadowed episodes with an answer."""
    answers: int
    """Of the shadow, as are the next ones."""
    invalid: int
    late: int
    distance: float
    """Mean distance of the shadow's valid answers from the executed actions."""
    clamped: float
    """Mean share of the values of the shadow's valid answers that stand at a limit of the contract."""
    shadow_ms: float
    """Mean time to an answer of the shadow, or to the end of patience."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What is known of one of the team's guardrails."""

    log_e: float
    n: int
    """Events of both arms, or episodes of the candidate with the measure."""
    low: float
    """Of the candidate's mean, by a confidence sequence; of a rate the candidate's events."""
    high: float
    """Likewise; of a rate the current policy's events."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Evidence weighed: each number is the log of an e-process, to be compared with log(1 / alpha)."""

    superiority: float
    """Against `the candidate is nowhere better`."""
    noninferiority: float
    """Against `the candidate is worse by the margin or more`."""
    harm: float
    """Against `the candidate is nowhere worse`, by success."""
    task_harm: dict[str, float]
    """The same within each task."""
    mean_task_harm: float
    """Against the same as harm: the average of the tasks' e-values, which one bad task lifts by itself. Over the tasks
    that the document names; if it names none, over those seen, and then a false alarm is as rare as promised only where
    all of them begin before there is evidence."""
    floor: float
    """Against `the candidate succeeds at least as often as the declared floor`."""
    interventions: float
    """Against `the candidate needs no more interventions per hour`."""
    sample_ratio: float
    """Against `either arm's episodes go missing equally often`."""
    watched: dict[str, Watched]
    """By the name of each guardrail of the team's own."""
    counts: Counts


def weigh(evidence: Evidence) -> Weights:
    """Everything the judge needs, from the sums; a pure function of its argument."""
    document, sums = evidence.document, evidence.sums
    gains, floor = sums.get("gain", (0, 0, 0)), document.guardrails.floor
    tasks = {
        name.removeprefix("harm/"): _rounded(log_wealth_of_counts(_GAINS, counts))
        for name, counts in sorted(sums.items())
        if name.startswith("harm/")
    }
    return Weights(
        superiority=_rounded(log_wealth_of_counts(_GAINS, gains)),
        noninferiority=_rounded(log_wealth_of_counts([one + document.margin for one in _GAINS], gains)),
        harm=_rounded(log_wealth_of_counts(_GAINS, sums.get("harm", (0, 0, 0)))),
        task_harm=tasks,
        mean_task_harm=_rounded(log_mean_of([tasks.get(task, 0.0) for task in document.tasks or tasks])),
        floor=_rounded(log_wealth_of_counts((floor - 1.0, floor), sums.get("floor", (0, 0)), largest_loss=1.0 - floor)),
        interventions=_rounded(log_average_of_wagers(sums.get("interventions", NO_SHIFTS), SHIFTS)),
        sample_ratio=_rounded(log_wealth_of_counts((-1.0, 1.0), sums.get("ratio", (0, 0)), two_sided=True)),
        watched={one.name: _watched(one, sums.get(f"guard/{one.name}", nothing(one))) for one in document.watch},
        counts=_counts(sums),
    )


def _watched(guardrail: Guardrail, sums: tuple[int, ...]) -> Watched:
    if guardrail.is_rate:
        *logs, candidate, current = sums
        return Watched(
            log_e=_rounded(log_average_of_wagers(logs, WAGERS)), n=candidate + current, low=candidate, high=current
        )
    logs, (n, total, squares) = list(sums[:-6]), sums[-6:-3]
    low, high = mean_interval(n, total / MICRO, squares / MICRO, 0.05)
    least, greatest = max(low, 0.0), min(high, guardrail.most)
    return Watched(log_e=_rounded(log_average(logs)), n=n, low=_rounded(least), high=_rounded(greatest))


def _counts(sums: Sums) -> Counts:
    found = dict(zip(COUNTS, sums.get("counts", (0,) * len(COUNTS)), strict=True))
    microseconds = found.pop("candidate_us")
    found["safety_stops"] += sums.get("stopped", (0,))[0]
    shadowed, answers, invalid, late, *totals = sums.get("shadow", (0,) * 7)
    valid = answers - invalid - late
    distance, clamped = (_rounded(total / MICRO / max(1, valid)) for total in totals[:2])
    return Counts(
        **found,
        candidate_hours=microseconds / MICRO / 3600.0,
        robots=sums.get("robots", (0,))[0],
        sites=sums.get("sites", (0,))[0],
        task_pairs=min((counts[1] for name, counts in sums.items() if name.startswith("task/")), default=0),
        shadowed=shadowed,
        answers=answers,
        invalid=invalid,
        late=late,
        distance=distance,
        clamped=clamped,
        shadow_ms=_rounded(totals[2] / MICRO / max(1, answers) * 1e3),
    )


def _rounded(value: float) -> float:
    return round(value, _DECIMALS)
