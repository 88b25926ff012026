"""What an experiment found, as one page with its intervals drawn. Pure: results in, HTML out."""

from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element

from jobs.experiment.arms import Claim
from jobs.experiment.table import Judged, Mean, Result, by_arm, generalist_share, in_percent, judge, mean
from volano.flywheel.page.charts import difference_strip, interval_strip, strip_axis
from volano.flywheel.page.document import page
from volano.flywheel.page.markup import Child, element, table


def render(results: Sequence[Result], claims: Sequence[Claim], tags: Sequence[str]) -> bytes:
    """The whole page, UTF-8."""
    found = by_arm(results)
    top = [element("p", "Means over seeds with Student's 95 % intervals; arms are compared on equal seeds.")]
    share = generalist_share(found, tags)
    if share is not None:
        said = f"One policy for all reaches {in_percent(share)} % of its specialists' mean ({share.seeds} seeds)."
        top.append(element("p", said))
    return page("Ablations", top, [_claims([judge(claim, found) for claim in claims]), _arms(found, tags)])


def _claims(judged: Sequence[Judged]) -> Element:
    rows = [_claim(one) for one in judged]
    heads = ("the paper says", strip_axis(("-100", "0", "+100")), "points, 95 %", "seeds", "here")
    return element("section", element("h2", "What the paper says"), table(heads, rows, numbers=(2, 3)), id="claims")


def _claim(judged: Judged) -> list[Child]:
    found = judged.difference
    if found is None:
        return [judged.claim.says, "", "", "0", judged.finding]
    drawn = difference_strip(found.value, found.low, found.high)
    return [judged.claim.says, drawn, in_percent(found), str(found.seeds), judged.finding]


def _arms(found: Mapping[str, Mapping[int, Result]], tags: Sequence[str]) -> Element:
    rows = []
    for arm, seeds in found.items():
        for tag in tags:
            rates = [one.rate([tag]) for one in seeds.values() if tag in one.successes]
            if rates:
                rows.append(_rate(arm, tag, mean(rates)))
    heads = ("arm", "robot", strip_axis(), "success, 95 %", "seeds")
    return element("section", element("h2", "Success"), table(heads, rows, numbers=(3, 4)), id="success")


def _rate(arm: str, tag: str, found: Mean) -> list[Child]:
    drawn = interval_strip("policy", found.value, max(0.0, found.low), min(1.0, found.high))
    return [arm, tag, drawn, in_percent(found), str(found.seeds)]
