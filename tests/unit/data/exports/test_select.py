"""What may be imitated leaves, and nothing else: every tick an expert drove, no tick of a failure."""

from itertools import pairwise
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.data.exports.versions import EXPECTED, OUTCOMES, SEGMENTS, Ending
from volano.data.episode import Outcome, OutcomeSource, Segment, SegmentKind
from volano.data.exports.select import Attempt, runs


@st.composite
def attempts(draw: st.DrawFn) -> Attempt:
    """Any attempt that a manifest can describe, and some that none should: an outcome need not fit its segments."""
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=8))
    ends = [sum(lengths[: place + 1]) for place in range(len(lengths))]
    kinds = [draw(st.sampled_from(get_args(SegmentKind))) for _ in lengths]
    segments = tuple(
        Segment(start=end - length, end=end, kind=kind) for length, end, kind in zip(lengths, ends, kinds, strict=True)
    )
    source = draw(st.sampled_from(get_args(OutcomeSource)))
    outcome = Outcome(success=draw(st.booleans()), autonomous=draw(st.booleans()), source=source)
    edges = sorted(draw(st.sets(st.integers(0, ends[-1]), max_size=4)))
    skipped = tuple(zip(edges[::2], edges[1::2], strict=False))
    return Attempt(number=0, content_id="a", segments=segments, skipped=skipped, outcome=outcome, weight=1.0)


@given(attempts())
def test_every_expert_s_tick_leaves_once_and_no_failed_one(attempt: Attempt) -> None:
    left = [tick for run in runs([attempt]) for tick in range(run.start, run.end)]
    assert left == sorted(set(left))
    alone = attempt.outcome.success and attempt.outcome.autonomous
    wanted = [
        tick
        for segment in attempt.segments
        for tick in range(segment.start, segment.end)
        if (segment.kind != "autonomous" or alone) and not any(start <= tick < end for start, end in attempt.skipped)
    ]
    assert left == wanted


@given(attempts())
def test_runs_are_as_long_as_can_be_and_never_empty(attempt: Attempt) -> None:
    found = runs([attempt])
    assert all(0 <= run.start < run.end <= attempt.frames for run in found)
    assert all(one.end < other.start for one, other in pairwise(found))
    assert [run.whole for run in found] == (
        [True] if [len(run) for run in found] == [attempt.frames] else [False] * len(found)
    )


def test_each_ending_gives_what_it_should() -> None:
    endings: list[Ending] = list(SEGMENTS)
    known = [
        Attempt(
            number=number,
            content_id=ending,
            segments=tuple(Segment(start=start, end=end, kind=kind) for start, end, kind in SEGMENTS[ending]),
            skipped=(),
            outcome=OUTCOMES[ending],
            weight=1.0,
        )
        for number, ending in enumerate(endings)
    ]
    found = [(run.attempt.content_id, (run.start, run.end)) for run in runs(known)]
    assert found == [(ending, span) for ending in endings for span in EXPECTED[ending]]
