"""The page of one rollout: its verdict and why, counts, guardrails, evidence, and whom it exposes.

Pure, from what the judge wrote and the functions that it judged with; what is not there says so in its place.
"""

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from volano.evaluate.statistics import wilson
from volano.flywheel.page.charts import line_chart
from volano.flywheel.page.document import page
from volano.flywheel.page.markup import Child, code, details, element, short, table
from volano.flywheel.page.results import rollout_section
from volano.flywheel.stories import rollout_story
from volano.rollout.evidence import Evidence
from volano.rollout.machine import Verdict
from volano.rollout.plan import Rollout
from volano.rollout.preview import Touch
from volano.rollout.state import Promoted, Running, State

_NAMED = 40
"""Robots that a step names before it folds the rest away."""


def rollout_page(
    document: Rollout,
    state: State,
    evidence: Evidence,
    verdicts: Sequence[Verdict],
    touches: Sequence[Touch],
    code_sha256: str,
) -> bytes:
    """The whole page, UTF-8. `touches` are of the fleet as it is enrolled, `code_sha256` is of the judging code."""
    last = verdicts[-1] if verdicts else None
    said = f"{last.kind.replace('_', ' ')}: {last.reason}" if last else "nobody looked yet"
    top = [
        element("p", "Candidate ", short(document.candidate), " against ", short(document.current)),
        element("p", element("strong", state.kind.replace("_", " ")), f", {said}"),
    ]
    sections = [
        _section("counts", "Counts", _counts(last)),
        _section("guardrails", "What could stop it", _guardrails(document, last)),
        _section("evidence", "Evidence", rollout_section((rollout_story(document, evidence, verdicts),))),
        _section("looks", "Look by look", _looks(verdicts)),
        _section("exposed", "Who is exposed", _exposed(document, state, touches)),
        _section("proof", "Proof", _proof(document, last, code_sha256)),
    ]
    return page(f"Rollout {document.id}", top, sections)


def _section(name: str, title: str, inside: Sequence[Element]) -> Element:
    shown = inside or [element("p", "Not here: nobody looked yet", class_="missing")]
    return element("section", element("h2", title), *shown, id=name)


def _counts(last: Verdict | None) -> list[Element]:
    if last is None:
        return []
    rows: list[list[Child]] = []
    for name in ("candidate", "current"):
        n, k = (int(last.numbers[f"{name}_{what}"]) for what in ("episodes", "successes"))
        low, high = wilson(k, n)
        share = f"{k / n:.0%}, {low:.0%} to {high:.0%}" if n else "no episode"
        rows.append([f"success of the {name}", f"{k} / {n}", share])
    names = {
        "blocks": "pairs",
        "complete": "of them with both labels",
        "awaited": "pairs whose candidate's episode is awaited",
        "task_pairs": "pairs in the task that has fewest",
        "robots": "robots",
        "sites": "sites",
        "safety_stops": "safety stops under the candidate",
        "unlabelled": "episodes without a label",
        "set_aside": "episodes that ran another policy than was planned, or never came",
        "repeated": "episodes set aside because their number was taken",
        "shadowed": "shadowed episodes",
        "late": "late shadow answers",
        "shadow_ms": "milliseconds to a shadow's answer, mean",
        "distance": "distance of its actions from the executed ones, mean share of a range",
        "clamped": "share of its values at a limit of the contract, mean",
    }
    rows += [[said, f"{last.numbers[name]:g}", ""] for name, said in names.items()]
    rows.append(["hours under the candidate", f"{last.numbers['candidate_hours']:.2f}", ""])
    return [table(("", "count", "share, 95 % interval"), rows, numbers=(1,))]


def _guardrails(document: Rollout, last: Verdict | None) -> list[Element]:
    if last is None:
        return []
    tests = {
        "harm": "less success than the current policy",
        "mean_task_harm": "the same, averaged over tasks",
        "floor": f"success below {document.guardrails.floor:g}",
        "interventions": "more interventions per hour",
        "sample_ratio": "episodes of one policy go missing",
    }
    rows = [
        [said, "", *_found(last, name), "asks a person" if name == "sample_ratio" else "rolls back"]
        for name, said in tests.items()
    ]
    for one in document.watch:
        n, low, high = (last.numbers[f"guard/{one.name}/{part}"] for part in ("n", "low", "high"))
        seen = f"{low:g} events against {high:g}" if one.is_rate else f"{low:.4g} to {high:.4g} in {n:g} episodes"
        claim = f"{one.name}: {one.metric} {one.direction} {one.limit:g}"
        consequence = "rolls back" if one.action == "rollback" else "asks a person"
        rows.append([claim, seen, *_found(last, f"guard/{one.name}"), consequence])
    return [table(("claim", "found", "log e", "needed", ""), rows, numbers=(2, 3))]


def _found(last: Verdict, name: str) -> tuple[str, str]:
    return f"{last.numbers[f'log_e_{name}']:.2f}", f"{last.numbers[f'log_e_{name}_needed']:.2f}"


def _looks(verdicts: Sequence[Verdict]) -> list[Element]:
    """What each look's verdict said, as it was written."""
    charts = []
    for name, claim in (("superiority", "the candidate is better"), ("harm", "the candidate is worse")):
        points = [(float(look), one.numbers[f"log_e_{name}"]) for look, one in enumerate(verdicts, start=1)]
        if points:
            needed = verdicts[-1].numbers[f"log_e_{name}_needed"]
            label = f"log e-value of {name} at each look: ends at {points[-1][1]:.3g}, {needed:.3g} needed"
            chart = line_chart([(0.0, 0.0), *points], across="looks", label=label, needed=needed)
            charts.append(element("figure", element("figcaption", element("strong", name), f": {claim}"), chart))
    rows = [
        (str(look), one.kind.replace("_", " "), one.reason, code(one.inputs[:12]))
        for look, one in enumerate(verdicts, 1)
    ]
    if not rows:
        return []
    return [
        element("div", *charts, class_="charts"),
        details("Every verdict", table(("look", "", "why", "inputs"), rows)),
    ]


def _exposed(document: Rollout, state: State, touches: Sequence[Touch]) -> list[Element]:
    at = state.step if isinstance(state, Running) else len(document.steps) if isinstance(state, Promoted) else None
    rows: list[list[Child]] = []
    for position, one in enumerate(touches):
        names = ", ".join(one.exposed[:_NAMED]) or "none"
        more: Child = details(f"and {len(one.exposed) - _NAMED} more", ", ".join(one.exposed[_NAMED:]))
        robots = element("div", names, more) if len(one.exposed) > _NAMED else element("div", names)
        left = ", ".join(f"{number} {why}" for why, number in sorted(one.left.items())) or "nobody"
        here = element("strong", one.step) if position == at else element("span", one.step)
        rows.append([here, one.means, f"{len(one.exposed)}", robots, left])
    note = "The step in strong letters is the present one." if at is not None else "Nobody is exposed now."
    return [element("p", note), table(("step", "means", "robots", "who", "left alone"), rows, numbers=(2,))]


def _proof(document: Rollout, last: Verdict | None, code_sha256: str) -> list[Element]:
    rows: list[list[Child]] = [["document", code(document.digest)], ["judging code", code(code_sha256)]]
    if last is not None:
        rows.append(["inputs of the last verdict", code(last.inputs)])
    return [
        table(("", "SHA-256"), rows),
        element(
            "p", "Every verdict is made again from the audit log by ", code(f"volano rollout replay {document.id}")
        ),
    ]
