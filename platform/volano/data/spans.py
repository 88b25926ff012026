"""Stretches of an episode's ticks, as [start, end) in order and apart from each other. Pure."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Spans = tuple[tuple[int, int], ...]


def spans_of(mask: NDArray[np.bool_]) -> Spans:
    """The runs of true values in a (T,) mask."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return tuple((int(start), int(end)) for start, end in edges.reshape(-1, 2))


def mask_of(spans: Iterable[tuple[int, int]], frames: int) -> NDArray[np.bool_]:
    """Which of `frames` ticks they hold, (T,)."""
    mask = np.zeros(frames, np.bool_)
    for start, end in spans:
        mask[start:end] = True
    return mask


def parse_spans(data: Any) -> Spans:
    """From plain data; raises ValueError or TypeError when they are none, overlap, or are not in order."""
    spans = tuple((start, end) for start, end in data)
    edges = [edge for span in spans for edge in span]
    if any(type(edge) is not int or edge < 0 for edge in edges):
        raise ValueError("a stretch of ticks does not begin and end at one")
    if edges != sorted(edges) or any(start == end for start, end in spans):
        raise ValueError("stretches of ticks are empty or not in order")
    return spans
