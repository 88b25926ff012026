"""Which ticks of an episode training takes no sample from, because nothing moves there. Pure.

A person who takes over from a policy and stands still may be showing exactly that: those ticks always stay.
"""

import numpy as np

from volano.data.curation.config import Idle
from volano.data.episode import Manifest
from volano.data.spans import Spans, mask_of, spans_of


def skippable(manifest: Manifest, still: Spans, idle: Idle) -> Spans:
    """Of an episode's still stretches, what is skipped: the long ones, but for a little beside each motion."""
    if not idle.shortest_s:
        return ()
    kept = round(idle.kept_s * manifest.rate_hz)
    skipped = np.zeros(manifest.frames, np.bool_)
    for start, end in still:
        if end - start >= idle.shortest_s * manifest.rate_hz:
            inner = start + (kept if start else 0), end - (kept if end < manifest.frames else 0)
            skipped |= mask_of([inner], manifest.frames)
    if any(segment.kind == "autonomous" for segment in manifest.segments):
        helped = ((one.start, one.end) for one in manifest.segments if one.kind != "autonomous")
        skipped &= ~mask_of(helped, manifest.frames)
    return spans_of(skipped)
