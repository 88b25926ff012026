"""From what the fleet did to what a rollout may believe: assignments and uploads become outcomes, and the gateway's
shadow journal becomes shadow outcomes.

Pure: the order and the repetition of its inputs change nothing. An episode is known by robot and attempt, which the
ledger assigned once, so that an episode that never arrives is evidence too: it is an outcome without a label.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from volano.data.episode import Manifest
from volano.errors import Code
from volano.ledger.records import Assignment
from volano.rollout.assign import ARMS
from volano.rollout.outcome import Outcome, ShadowOutcome

_INVALID = {str(Code.WIRE_ACTION)}
"""Problems of a shadow's answer that say that its actions were no actions; every other one is an answer too late."""


def outcomes(
    assignments: Iterable[Assignment], arrived: Iterable[Manifest], now: float, missing_after_s: float
) -> tuple[Outcome, ...]:
    """Of every measured episode that arrived, or that is missing for longer than `missing_after_s`.

    `arrived` are manifests of accepted uploads; `now` is Unix time in seconds. Success is the policy's own: an episode
    that the expert had to finish did not succeed.
    """
    manifests = {(manifest.robot, manifest.attempt): manifest for manifest in arrived}
    found = {}
    for given in assignments:
        if given.arm not in ARMS:
            continue
        manifest = manifests.get((given.robot, given.episode))
        if manifest is not None or now - given.at > missing_after_s:
            found[given.robot, given.episode] = _outcome(given, manifest)
    return tuple(outcome for _, outcome in sorted(found.items()))


def shadow_outcomes(rollout: str, lines: Iterable[Mapping[str, object]]) -> tuple[ShadowOutcome, ...]:
    """Of every episode that a rollout's candidate shadowed; `lines` are entries of the gateway's shadow journal, and
    an entry that is not whole is left out."""
    problems: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for line in lines:
        names = [line.get(name) for name in ("robot", "episode", "request", "problem")]
        if line.get("rollout") == rollout and all(isinstance(name, str) for name in names):
            robot, episode, request, problem = map(str, names)
            problems[robot, episode][request] = problem
    return tuple(
        ShadowOutcome(
            episode=f"{robot}/{episode}",
            robot=robot,
            answers=len(answers),
            invalid=sum(problem in _INVALID for problem in answers.values()),
            late=sum(problem not in {"", *_INVALID} for problem in answers.values()),
        )
        for (robot, episode), answers in sorted(problems.items())
    )


def _outcome(given: Assignment, manifest: Manifest | None) -> Outcome:
    assert given.arm in ARMS
    kinds = [segment.kind for segment in manifest.segments] if manifest else []
    seen = manifest is not None and manifest.outcome.is_known
    return Outcome(
        episode=f"{given.robot}/{given.episode}",
        robot=given.robot,
        task=given.task,
        arm=given.arm,
        policy=manifest.policies[0] if manifest and len(manifest.policies) == 1 else "",
        counter=given.counter,
        success=manifest.outcome.success and manifest.outcome.autonomous if manifest and seen else None,
        autonomous=manifest.outcome.autonomous if manifest else False,
        interventions=kinds.count("intervention"),
        duration_s=manifest.frames / manifest.rate_hz if manifest else 0.0,
    )
