"""The page is sound HTML, says every number, keeps hostile text as text and gives a reason for what is missing."""

import dataclasses
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.flywheel.reports import HOSTILE, report, story
from volano.flywheel.page.document import render, write_page
from volano.flywheel.page.markup import beside
from volano.flywheel.stories import loss_curves
from volano.flywheel.summary import PAIRS, Door, EvidencePath, LossCurve, Missing, Success, Video
from volano.train.journal import Journal

_VOID = {"meta", "link", "img", "br", "hr", "input"}
_ADDRESSES = {"href", "src", "srcset", "action", "data", "poster"}


class Page(HTMLParser):
    """What a browser would see: elements with attributes, and text; balanced, or the test fails."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page.decode())
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(attrs) == len(dict(attrs)), f"an attribute of {tag} stands there twice"
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data

    @property
    def addresses(self) -> list[str]:
        return [value or "" for _, found in self.elements for name, value in found.items() if name in _ADDRESSES]


def seen(page: bytes) -> str:
    """The page's text with single spaces."""
    return re.sub(r"\s+", " ", Page(page).text)


def test_every_number_that_was_given_stands_on_the_page() -> None:
    text = seen(render(report()))
    for said in (
        ("31 / 53", "58 %", "45 to 71 %", "0 / 54", "0 to 7 %", "55 / 55", "100 %", "93 to 100 %"),
        ("217 uploaded = 203 accepted + 9 quarantined + 4 rejected + 1 in flight", "E-DATA-001", "E-DATA-007"),
        ("0.417", "0.5", "not met", "refused", "62 %"),
        ("123.4 s", "61.7 s", "Together 185.1 s, which is 3.1 minutes", "train"),
        ("1.234", "nan", "0.8765", "a" * 64, "b" * 12, "c" * 12, "d" * 12, "e" * 12),
        ("uploads/scout-01/a-1.json", "mlflow ui --backend-store-uri", "http://127.0.0.1:8265"),
    ):
        assert [wanted for wanted in said if wanted not in text] == []


def test_the_rollout_says_its_evidence_its_thresholds_and_its_verdicts() -> None:
    given_story = story()
    text = seen(render(report()))
    assert [mark.kind for mark in given_story.marks] == ["promote"]
    assert f"promote after {given_story.marks[0].pairs} pairs: {given_story.marks[0].reason}" in text
    assert [path.name for path in given_story.paths] == [
        "superiority",
        "non-inferiority",
        "harm",
        "interventions",
        "sample ratio",
    ]
    for path in given_story.paths:
        assert all(f"{value:.4g}" in text for value in path.values)
        assert f"{path.needed:.4g} needed" in text or not path.values
    assert f"needed {-math.log(0.05):.2f}" in text
    assert given_story.paths[0].values[-1] > given_story.paths[0].needed
    for name, value in given_story.numbers.items():
        assert f"{name}{value:.6g}" in text


def test_verdicts_are_marked_only_where_evidence_comes_in_pairs() -> None:
    few = EvidencePath(name="n", claim="c", values=(0.1, 0.2), needed=5.0, pieces="pairs with an intervention")
    told = replace(story(), paths=(few, replace(few, pieces=PAIRS)))
    page = Page(render(replace(report(), rollouts=(told,))))
    assert sum(found.get("class") == "mark" for _, found in page.elements) == len(told.marks) == 1


def test_loss_curves_come_from_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(10, {"loss": 2.0, "loss_scout": 1.5, "learning_rate": 0.1})
    journal.append(20, {"loss": 1.0, "loss_scout": 0.5, "loss_car": 3.0})
    assert loss_curves("round 1", tmp_path / "journal.jsonl") == (
        LossCurve(name="round 1, all robots", points=((10, 2.0), (20, 1.0))),
        LossCurve(name="round 1, car", points=((20, 3.0),)),
        LossCurve(name="round 1, scout", points=((10, 1.5), (20, 0.5))),
    )


def test_the_page_needs_nothing_from_outside_and_runs_nothing() -> None:
    page = Page(render(report()))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "img", "base"}
    assert {"svg", "video", "style"} <= tags
    assert set(page.addresses) - {f"#{found.get('id')}" for _, found in page.elements} == {
        "./videos/round-2.mp4",
        "http://127.0.0.1:8265",
    }
    assert [found["preload"] for tag, found in page.elements if tag == "video"] == ["none"]
    assert all(found.get("aria-label") for tag, found in page.elements if tag == "svg")


def test_hostile_text_stays_text() -> None:
    plain, hostile = Page(render(report())), Page(render(report(HOSTILE)))
    assert [tag for tag, _ in hostile.elements if tag != "a"] == [tag for tag, _ in plain.elements if tag != "a"]
    assert not any(name.startswith("on") for _, found in hostile.elements for name in found)
    assert set(hostile.addresses) == set(plain.addresses)
    assert "<script>alert(1)</script><img src=x onerror=alert(2)>" in hostile.text
    assert "\\u0000\\u202e" in hostile.text
    assert "\u202e" not in hostile.text


@given(st.text(alphabet=st.characters(codec=None), min_size=1, max_size=40))
def test_any_text_gives_a_sound_page_of_the_same_shape(text: str) -> None:
    small = replace(report(), rollouts=Missing(reason=text), title=text)
    page = Page(render(small))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in Page(render(replace(small, title="x"))).elements]


@pytest.mark.parametrize(
    "part", ["success", "intake", "gates", "rollouts", "videos", "training", "lineage", "timings", "doors"]
)
def test_a_missing_part_says_why_and_the_rest_stands(part: str) -> None:
    assert part in {field.name for field in dataclasses.fields(report())}
    missing: dict[str, Any] = {part: Missing(reason=f"no {part} <b>today</b>")}
    empty: dict[str, Any] = {part: ()}
    text = seen(render(replace(report(), **missing)))
    assert f"Not here: no {part} <b>today</b>" in text
    assert text.count("Not here") == 1
    assert "Not here: there was nothing to show" in seen(render(replace(report(), **empty)))


def test_counts_that_do_not_add_up_are_called_out() -> None:
    whole = report()
    assert not isinstance(whole.intake, Missing)
    counts = replace(whole.intake[0].counts, uploaded=218)
    text = seen(render(replace(whole, intake=(replace(whole.intake[0], counts=counts),))))
    assert "does not hold, they add up to 217" in text
    assert "does not hold" not in seen(render(whole))


def test_no_episodes_is_not_a_rate() -> None:
    row = Success(group="g", actor="a", role="policy", successes=0, episodes=0)
    text = seen(render(replace(report(), success=(row,))))
    assert "no episodes" in text
    assert "0 / 0" in text


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../a.mp4", "videos/../../a.mp4", "videos//a.mp4", "", "c:\\a.mp4", "./a.mp4"]
)
def test_only_files_beside_the_page_are_shown(path: str) -> None:
    assert beside(path) == ""
    video = Video(path=path, robot="r", task="t", actor="a", success=False)
    page = Page(render(replace(report(), videos=(video,))))
    assert "video" not in {tag for tag, _ in page.elements}
    assert "the file is not beside this page" in page.text


def test_links_are_quoted_and_only_web_addresses_become_links() -> None:
    assert beside("javascript:alert(1)") == "./javascript%3Aalert%281%29"
    assert beside("videos/a b#?.mp4") == "./videos/a%20b%23%3F.mp4"
    doors = (Door(name="x", address="javascript:alert(1)", command=""),)
    page = Page(render(replace(report(), doors=doors)))
    assert not any("javascript" in address for address in page.addresses)
    assert "javascript:alert(1)" in page.text


def test_the_page_is_written_whole(tmp_path: Path) -> None:
    write_page(report(), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_bytes() == render(report())
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
