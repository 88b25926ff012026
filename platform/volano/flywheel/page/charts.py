"""Charts as inline SVG: they take the page's colours, and say everything by shape, dash or words as well.

Numbers that are not finite are left out of a line. Coordinates are SVG units; the page scales a chart to its column.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from volano.flywheel.page.markup import element
from volano.flywheel.summary import Role

Point = tuple[float, float]
_WIDTH, _HEIGHT = 340.0, 170.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 10.0, 12.0, 30.0
_STRIP_WIDTH, _STRIP_HEIGHT, _STRIP_MARGIN = 200.0, 24.0, 8.0
_MARK_ROWS = 3


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A numbered moment on a line chart."""

    x: float
    label: str


def line_chart(
    points: Sequence[Point], *, across: str, label: str, needed: float | None = None, marks: Sequence[Mark] = ()
) -> Element:
    """One line over its axis. `across` names the horizontal axis, `label` says the chart in words, `needed` is a
    threshold drawn dashed."""
    drawn = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    low_x, high_x = _span([x for x, _ in drawn] + [mark.x for mark in marks], 0.0)
    low_y, high_y = _span([y for _, y in drawn] + ([] if needed is None else [needed]), 0.06)

    def place_x(x: float) -> float:
        return _LEFT + (x - low_x) / (high_x - low_x) * (_WIDTH - _LEFT - _RIGHT)

    def place_y(y: float) -> float:
        return _HEIGHT - _BOTTOM - (y - low_y) / (high_y - low_y) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        _line(_LEFT, _HEIGHT - _BOTTOM, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM, "axis"),
        _line(_LEFT, _TOP, _LEFT, _HEIGHT - _BOTTOM, "axis"),
        *(_text(f"{y:.3g}", _LEFT - 4, place_y(y) + 4, "end") for y in (low_y, high_y)),
        *(_text(f"{x:.6g}", place_x(x), _HEIGHT - _BOTTOM + 14, "middle") for x in (low_x, high_x)),
        _text(across, (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 4, "middle"),
    ]
    if needed is not None:
        parts += [
            _line(_LEFT, place_y(needed), _WIDTH - _RIGHT, place_y(needed), "needed"),
            _text(f"needed {needed:.2f}", _LEFT + 4, place_y(needed) - 3, "start"),
        ]
    for number, mark in enumerate(marks):
        parts.append(_line(place_x(mark.x), _TOP, place_x(mark.x), _HEIGHT - _BOTTOM, "mark"))
        parts.append(_text(mark.label, place_x(mark.x) - 3, _TOP + 9 + 12 * (number % _MARK_ROWS), "end"))
    parts.append(_curve([(place_x(x), place_y(y)) for x, y in drawn]))
    return _picture(_WIDTH, _HEIGHT, label, parts)


def interval_strip(role: Role, rate: float, low: float, high: float) -> Element:
    """A rate within [0, 1] as a mark on its interval; policies are dots, baselines squares, experts diamonds."""
    x, y = _strip_x(rate), _STRIP_HEIGHT / 2
    shapes = {
        "policy": element("circle", cx=f"{x:.1f}", cy=y, r=5, class_="policy"),
        "baseline": element("rect", x=f"{x - 4:.1f}", y=y - 4, width=8, height=8, class_="baseline"),
        "expert": element("path", d=f"M{x:.1f} {y - 6}l6 6l-6 6l-6 -6z", class_="expert"),
    }
    grid = [_line(_strip_x(share), 0, _strip_x(share), _STRIP_HEIGHT, "grid") for share in (0, 0.5, 1)]
    interval = [
        _line(_strip_x(low), y, _strip_x(high), y, "interval"),
        *(_line(_strip_x(end), y - 4, _strip_x(end), y + 4, "interval") for end in (low, high)),
    ]
    label = f"{role}: {rate:.0%}, between {low:.0%} and {high:.0%}"
    return _picture(_STRIP_WIDTH, _STRIP_HEIGHT, label, [*grid, *interval, shapes[role]])


def difference_strip(value: float, low: float, high: float) -> Element:
    """A difference of two rates within [-1, 1] as a dot on its interval; zero is dashed. An interval that leaves the
    scale, or is not finite, ends without a tick."""
    y, ends = _STRIP_HEIGHT / 2, [min(1.0, max(-1.0, end)) for end in (low, high)]
    places = [_strip_x((1 + end) / 2) for end in ends]
    parts = [
        *(_line(_strip_x(share), 0, _strip_x(share), _STRIP_HEIGHT, "grid") for share in (0, 1)),
        _line(_strip_x(0.5), 0, _strip_x(0.5), _STRIP_HEIGHT, "needed"),
        _line(places[0], y, places[1], y, "interval"),
        *(
            _line(place, y - 4, place, y + 4, "interval")
            for place, end in zip(places, (low, high), strict=True)
            if abs(end) <= 1
        ),
        element("circle", cx=f"{_strip_x((1 + value) / 2):.1f}", cy=y, r=5, class_="policy"),
    ]
    return _picture(_STRIP_WIDTH, _STRIP_HEIGHT, f"{value:+.0%}, between {low:+.0%} and {high:+.0%}", parts)


def strip_axis(labels: Sequence[str] = ("0 %", "50 %", "100 %")) -> Element:
    """The scale above a column of strips: its left end, middle and right end."""
    places = zip(labels, (0, 0.5, 1), ("start", "middle", "end"), strict=True)
    parts = [_text(text, _strip_x(share), 14, anchor) for text, share, anchor in places]
    return _picture(_STRIP_WIDTH, 18.0, f"scale from {labels[0]} to {labels[-1]}", parts)


def bar(share: float, label: str) -> Element:
    """A bar of a share within [0, 1]."""
    width = max(1.0, share * _STRIP_WIDTH)
    return _picture(
        _STRIP_WIDTH, 12.0, label, [element("rect", x=0, y=1, width=f"{width:.1f}", height=10, class_="bar")]
    )


def _strip_x(share: float) -> float:
    return _STRIP_MARGIN + share * (_STRIP_WIDTH - 2 * _STRIP_MARGIN)


def _span(values: Sequence[float], room: float) -> tuple[float, float]:
    """From the lowest to the highest value and zero, with a share of room at both ends that are not zero."""
    low, high = min(0.0, *values, 0.0), max(0.0, *values, 0.0)
    if low == high:
        high = low + 1.0
    extra = room * (high - low)
    return low - extra * (low < 0), high + extra * (high > 0)


def _curve(points: Sequence[Point]) -> Element:
    if len(points) == 1:
        return element("circle", cx=f"{points[0][0]:.1f}", cy=f"{points[0][1]:.1f}", r=3, class_="policy")
    return element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_="curve")


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Element:
    return element("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_=kind)


def _text(text: str, x: float, y: float, anchor: str) -> Element:
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def _picture(width: float, height: float, label: str, parts: Sequence[Element]) -> Element:
    return element(
        "svg", *parts, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=label, preserveAspectRatio="xMidYMid"
    )
