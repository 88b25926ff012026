"""A report as one HTML file: no script, no address outside, readable offline and on a phone.

`render` and `page` are pure. Text from outside stays text (see `markup`); the document also forbids scripts, frames,
plugins and forms to itself. A part that is missing says why in its own place.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from xml.etree.ElementTree import Element

from volano.flywheel.page.markup import element, write
from volano.flywheel.page.records import door_section, intake_section, lineage_section, timing_section, video_section
from volano.flywheel.page.results import gate_section, rollout_section, success_section, training_section
from volano.flywheel.summary import DemoReport, Headline, Missing
from volano.storage.files import replace_file

T = TypeVar("T")
_POLICY = (
    "script-src 'none'; object-src 'none'; frame-src 'none'; connect-src 'none'; base-uri 'none'; form-action 'none'"
)
_STYLE = (Path(__file__).parent / "style.css").read_text()


def render(report: DemoReport) -> bytes:
    """The whole page, UTF-8."""
    sections = [
        _section("success", "Success", report.success, success_section),
        _section("rollouts", "Rollouts", report.rollouts, rollout_section),
        _section("gates", "Gate decisions", report.gates, gate_section),
        _section("uploads", "Uploads", report.intake, intake_section),
        _section("videos", "Videos", report.videos, video_section),
        _section("training", "Training", report.training, training_section),
        _section("lineage", "Lineage", report.lineage, lineage_section),
        _section("time", "Time", report.timings, timing_section),
        _section("doors", "Look further", report.doors, door_section),
    ]
    return page(report.title, [element("p", report.made), _headlines(report.headlines)], sections)


def page(title: str, top: Sequence[Element], sections: Sequence[Element]) -> bytes:
    """A page of sections with a list of them, each of which begins with its heading."""
    contents = [element("a", section[0].text or "", href=f"#{section.get('id')}") for section in sections]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        _style(),
    )
    header = element("header", element("h1", title), *top)
    body = element("body", header, element("nav", *contents, aria_label="Sections"), element("main", *sections))
    return write(element("html", head, body, lang="en"))


def write_page(report: DemoReport, path: Path) -> None:
    """Write the page as a whole or not at all; its folder exists. The videos it names are expected beside it."""
    replace_file(path, [render(report)])


def _section(
    name: str, title: str, part: tuple[T, ...] | Missing, show: Callable[[tuple[T, ...]], list[Element]]
) -> Element:
    if isinstance(part, Missing):
        inside = [element("p", f"Not here: {part.reason}", class_="missing")]
    elif not part:
        inside = [element("p", "Not here: there was nothing to show", class_="missing")]
    else:
        inside = show(part)
    return element("section", element("h2", title), *inside, id=name)


def _headlines(headlines: tuple[Headline, ...]) -> Element:
    tiles = [element("div", element("dt", one.meaning), element("dd", one.figure)) for one in headlines]
    return element("dl", *tiles)


def _style() -> Element:
    made = Element("style")
    made.text = _STYLE
    return made
