"""From what the fleet did to what a rollout may believe: assignments and uploads become outcomes, and the gateway's
shadow journal becomes shadow outcomes.

Pure: the order and the repetition of its inputs change nothing. An episode is known by robot and attempt, which the
ledger assigned once, so that an episode that never arrives is evidence too: it is an outcome without a label.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from volano.data.episode import Manifest
from volano.errors import Code
from volano.ledger.records import Assignment
from volano.rollout.assign import ARMS
from volano.rollout.outcome import Outcome, ShadowOutcome, Stopped

Episode = tuple[str, str]
"""Robot and attempt."""
_INVALID = {str(Code.WIRE_ACTION)}
"""Problems of a shadow's answer that say that its actions were no actions; every other one is an answer too late."""
_MEASURES = {"distance": 1.0, "clamped": 1.0, "latency_s": 3600.0}
"""Of a shadow's answer, and the most that each can be."""


def outcomes(
    assignments: Iterable[Assignment],
    arrived: Iterable[Manifest],
    now: float,
    missing_after_s: float,
    sites: Mapping[str, str] = MappingProxyType({}),
    measured: Mapping[Episode, Mapping[str, float]] = MappingProxyType({}),
) -> tuple[Outcome, ...]:
    """Of every measured episode that arrived, or that is missing for longer than `missing_after_s`.

    `arrived` are manifests of accepted uploads; `now` is Unix time in seconds; `sites` says where robots stand, and
    `measured` what else is known of an episode. Success is the policy's own: an episode that the expert had to finish
    did not succeed.
    """
    manifests = {(manifest.robot, manifest.attempt): manifest for manifest in arrived}
    found = {}
    for given in assignments:
        if given.arm not in ARMS:
            continue
        manifest = manifests.get((given.robot, given.episode))
        if manifest is not None or now - given.at > missing_after_s:
            name = given.robot, given.episode
            found[name] = _outcome(given, manifest, sites.get(given.robot, ""), measured.get(name, {}))
    return tuple(outcome for _, outcome in sorted(found.items()))


def stopped(assignments: Iterable[Assignment], arrived: Iterable[Manifest], candidate: str) -> tuple[Stopped, ...]:
    """Of every episode with safety stops that ran the candidate and is no measured episode of it alone."""
    manifests = {(manifest.robot, manifest.attempt): manifest for manifest in arrived}
    found = []
    for given in assignments:
        manifest = manifests.get((given.robot, given.episode))
        if manifest is None or not manifest.outcome.safety_stops or candidate not in manifest.policies:
            continue
        if given.arm not in ARMS or manifest.policies != (candidate,):
            found.append(Stopped(episode=f"{given.robot}/{given.episode}", safety_stops=manifest.outcome.safety_stops))
    return tuple(sorted(found, key=lambda one: one.episode))


def shadow_outcomes(rollout: str, lines: Iterable[Mapping[str, object]]) -> tuple[ShadowOutcome, ...]:
    """Of every episode that a rollout's candidate shadowed; `lines` are entries of the gateway's shadow journal, and
    an entry that is not whole is left out."""
    problems: dict[Episode, dict[str, str]] = defaultdict(dict)
    measured: dict[Episode, dict[tuple[str, str], float]] = defaultdict(dict)
    for line in lines:
        names = [line.get(name) for name in ("robot", "episode", "request", "problem")]
        if line.get("rollout") == rollout and all(isinstance(name, str) for name in names):
            robot, episode, request, problem = map(str, names)
            problems[robot, episode][request] = problem
            for name, most in _MEASURES.items():
                if isinstance(value := line.get(name), float) and 0 <= value <= most:
                    measured[robot, episode][name, request] = value
    return tuple(
        ShadowOutcome(
            episode=f"{robot}/{episode}",
            robot=robot,
            answers=len(answers),
            invalid=sum(problem in _INVALID for problem in answers.values()),
            late=sum(problem not in {"", *_INVALID} for problem in answers.values()),
            **{
                name: math.fsum(value for (of, _), value in measured[robot, episode].items() if of == name)
                for name in _MEASURES
            },
        )
        for (robot, episode), answers in sorted(problems.items())
    )


def measures(lines: Iterable[Mapping[str, object]]) -> dict[Episode, dict[str, float]]:
    """Of every episode in the gateway's access log: `latency_ms`, the mean time to an answer, and `held_share`, the
    share of its requests that got no action. An entry that is not whole is left out."""
    asked: dict[Episode, dict[str, float | None]] = defaultdict(dict)
    for line in lines:
        robot, episode, latency_s = line.get("robot"), line.get("episode"), line.get("latency_s")
        if isinstance(robot, str) and isinstance(episode, str) and isinstance(latency_s, float) and latency_s >= 0:
            once = f"{line.get('request')} {line.get('at')}"  # a line that was read twice counts once
            asked[robot, episode][once] = latency_s * 1e3 if line.get("outcome") == "answered" else None
    found: dict[Episode, dict[str, float]] = {}
    for name, requests in asked.items():
        answered = [latency for latency in requests.values() if latency is not None]
        found[name] = {"held_share": 1 - len(answered) / len(requests)}
        if answered:
            found[name]["latency_ms"] = math.fsum(answered) / len(answered)
    return found


def _outcome(given: Assignment, manifest: Manifest | None, site: str, measured: Mapping[str, float]) -> Outcome:
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
        site=site,
        safety_stops=manifest.outcome.safety_stops if manifest else 0,
        measures=dict(measured) if manifest else {},
    )
