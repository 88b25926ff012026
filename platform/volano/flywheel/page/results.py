"""The page's sections on how well the policies do: success, training, gates and rollouts."""

from xml.etree.ElementTree import Element

from volano.evaluate.statistics import wilson
from volano.flywheel.page.charts import Mark, interval_strip, line_chart, strip_axis
from volano.flywheel.page.markup import Child, details, element, short, table
from volano.flywheel.summary import PAIRS, EvidencePath, GateStory, LossCurve, RolloutStory, Success, VerdictMark


def success_section(rows: tuple[Success, ...]) -> list[Element]:
    """One table per group: a mark on its 95 % interval for each actor, with the counts beside it."""
    parts = [
        element(
            "p",
            "Share of evaluation episodes that succeeded, with the 95 % Wilson interval of each count. "
            "● policy, □ baseline, ◆ scripted expert: the ceiling.",
        )
    ]
    for group in dict.fromkeys(row.group for row in rows):
        lines = [_success_row(row) for row in rows if row.group == group]
        parts.append(element("h3", group))
        parts.append(table(("", strip_axis(), "rate", "successes"), lines, numbers=(2, 3)))
    return parts


def training_section(curves: tuple[LossCurve, ...]) -> list[Element]:
    """One chart per curve, its numbers folded below it."""
    return [element("div", *(_loss(curve) for curve in curves), class_="charts")]


def gate_section(gates: tuple[GateStory, ...]) -> list[Element]:
    """Each decision, with every condition and what was found."""
    parts = []
    for gate in gates:
        decision = element("strong", "passed" if gate.passed else "refused")
        parts.append(element("p", "Policy ", short(gate.policy), " ", decision, f": {gate.reason}"))
        rows = [(one.name, one.found, one.needed, "met" if one.met else "not met") for one in gate.criteria]
        parts.append(table(("condition", "found", "needed", ""), rows))
    return parts


def rollout_section(stories: tuple[RolloutStory, ...]) -> list[Element]:
    """Each rollout: what changed its state, and the evidence by which it was judged."""
    parts: list[Element] = [
        element(
            "p",
            "Each line is the logarithm of an e-value: the evidence for the claim above it. It may be looked at after "
            "every episode; reaching the dashed line by chance, ever, is as improbable as the plan allows. "
            "Numbered marks are the verdicts listed above the charts, at the number of pairs seen by then. Lines "
            "follow the order of the plan (pair, robot, task), not of arrival, so a verdict may come later than the "
            "crossing it acted on.",
        )
    ]
    for story in stories:
        marks = [Mark(x=mark.pairs, label=str(number)) for number, mark in enumerate(story.marks, start=1)]
        names: list[Child] = ["Candidate ", short(story.candidate), " against ", short(story.current)]
        parts += [
            element("h3", story.id),
            element("p", *names, f": {story.looks} looks, {len(story.marks)} of them changed something."),
            element("ol", *(_verdict(mark) for mark in story.marks)),
            element("div", *(_evidence(path, marks) for path in story.paths), class_="charts"),
            details(
                "Numbers of the last verdict",
                table(
                    ("name", "value"), [(name, f"{value:.6g}") for name, value in story.numbers.items()], numbers=(1,)
                ),
            ),
        ]
    return parts


def _success_row(row: Success) -> list[Child]:
    low, high = wilson(row.successes, row.episodes)
    if row.episodes == 0:
        return [row.actor, "", "no episodes", "0 / 0"]
    rate = row.successes / row.episodes
    return [
        row.actor,
        interval_strip(row.role, rate, low, high),
        element("span", f"{100 * rate:.0f} % ", element("small", f"{100 * low:.0f} to {100 * high:.0f} %")),
        f"{row.successes} / {row.episodes}",
    ]


def _loss(curve: LossCurve) -> Element:
    rows = [(str(step), f"{loss:.4g}") for step, loss in curve.points]
    if not rows:
        return element("figure", element("figcaption", curve.name), element("p", "no point was recorded"))
    label = f"loss of {curve.name} from {rows[0][1]} to {rows[-1][1]}"
    return element(
        "figure",
        element("figcaption", f"{curve.name}: loss {rows[0][1]} to {rows[-1][1]}"),
        line_chart([(float(step), loss) for step, loss in curve.points], across="step", label=label),
        details("Every point", table(("step", "loss"), rows, numbers=(0, 1))),
    )


def _verdict(mark: VerdictMark) -> Element:
    return element("li", element("strong", mark.kind.replace("_", " ")), f" after {mark.pairs} pairs: {mark.reason}")


def _evidence(path: EvidencePath, marks: list[Mark]) -> Element:
    title = element("figcaption", element("strong", path.name), f": {path.claim}")
    if not path.values:
        return element("figure", title, element("p", f"no evidence of this kind yet; {path.needed:.2f} is needed"))
    crossed = next((number for number, value in enumerate(path.values, start=1) if value >= path.needed), None)
    said = f"crosses at {crossed} of {len(path.values)}" if crossed else f"does not cross in {len(path.values)}"
    label = f"log e-value of {path.name}: ends at {path.values[-1]:.3g}, {path.needed:.3g} needed, {said}"
    rows = [(str(number), f"{value:.4g}") for number, value in enumerate(path.values, start=1)]
    return element(
        "figure",
        title,
        line_chart(
            [(0.0, 0.0), *((float(number), value) for number, value in enumerate(path.values, start=1))],
            across=path.pieces,
            label=label,
            needed=path.needed,
            marks=marks if path.pieces == PAIRS else [],
        ),
        element("p", f"ends at {path.values[-1]:.4g}, {path.needed:.4g} needed; {said}"),
        details("Every value", table(("after", "log e-value"), rows, numbers=(0, 1))),
    )
