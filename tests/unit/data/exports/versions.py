"""A store with a version of attempts that ended in every way, whose frames carry their own numbers."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tests.unit.data.bundles import ARM, KNOWN, Draft, claims_with, columns, upload, write_bundle, write_steps
from tests.unit.data.bundles import manifest_of as of_folder
from volano.data.build import build_version
from volano.data.episode import STEPS_FILE, Outcome, Segment, SegmentKind
from volano.data.judge import judge
from volano.data.verdict import pending
from volano.data.version import DatasetVersion
from volano.storage.folder import FolderStore

Ending = Literal["alone", "helped", "failed", "demonstrated", "cut off", "recovered"]
SEGMENTS: dict[Ending, tuple[tuple[int, int, SegmentKind], ...]] = {
    "alone": ((0, 40, "autonomous"),),
    "helped": ((0, 15, "autonomous"), (15, 22, "intervention"), (22, 40, "autonomous")),
    "failed": ((0, 40, "autonomous"),),
    "demonstrated": ((0, 40, "intervention"),),
    "cut off": ((0, 10, "autonomous"), (10, 40, "intervention")),
    "recovered": ((0, 7, "autonomous"), (7, 12, "recovery"), (12, 20, "autonomous"), (20, 40, "intervention")),
}
"""Ticks and kinds of control of each attempt; a keyframe stands at every fifteenth."""
OUTCOMES: dict[Ending, Outcome] = {
    "alone": Outcome(success=True, autonomous=True, source="script"),
    "helped": Outcome(success=True, autonomous=False, source="operator"),
    "failed": Outcome(success=False, autonomous=True, source="operator"),
    "demonstrated": Outcome(success=False, autonomous=False, source="operator"),
    "cut off": Outcome(success=False, autonomous=False, source="repair"),
    "recovered": Outcome(success=False, autonomous=False, source="judge"),
}
EXPECTED: dict[Ending, tuple[tuple[int, int], ...]] = {
    "alone": ((0, 40),),
    "helped": ((15, 22),),
    "failed": (),
    "demonstrated": ((0, 40),),
    "cut off": ((10, 40),),
    "recovered": ((7, 12), (20, 40)),
}
"""What may be imitated of each."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A store, its version, and what each attempt was."""

    store: FolderStore
    version: DatasetVersion
    endings: dict[str, tuple[Ending, Draft, Path]]
    """By content: how it ended, its draft and the folder of its bundle."""


def make(
    folder: Path,
    endings: tuple[Ending, ...] = tuple(SEGMENTS),
    *,
    arms: int = 0,
    video_options: tuple[tuple[str, str], ...] = (),
) -> Made:
    """Build it below a folder that exists: rovers' attempts with these endings, and `arms` of an arm that succeeded."""
    (folder / "store").mkdir()
    store = FolderStore(folder / "store")
    rover = Draft(frames=40, video_options=video_options)
    drafts: list[tuple[Ending, Draft]] = [
        (ending, replace(rover, seed=at, attempt=f"{at}", first_number=50 * at, instruction=f"do {at % 3}"))
        for at, ending in enumerate(endings)
    ]
    arm = Draft(embodiment=ARM, robot="arm-01", frames=40)
    drafts += [
        ("alone", replace(arm, seed=90 + one, attempt=f"{one}", first_number=600 + 50 * one)) for one in range(arms)
    ]
    known: dict[str, tuple[Ending, Draft, Path]] = {}
    for ending, draft in drafts:
        bundle = folder / f"{draft.robot}-{draft.attempt}"
        write_bundle(bundle, draft)
        kinds = [kind for start, end, kind in SEGMENTS[ending] for _ in range(start, end)]
        write_steps(bundle / STEPS_FILE, {**columns(draft), "segment": kinds}, draft.embodiment)
        segments = tuple(Segment(start=start, end=end, kind=kind) for start, end, kind in SEGMENTS[ending])
        manifest = claims_with(of_folder(bundle, draft), segments=segments, outcome=OUTCOMES[ending])
        upload(store, bundle, manifest)
        known[manifest.content_id] = ending, draft, bundle
    judge(store, pending(store), KNOWN, lambda bundles: [None for _ in bundles])
    version = build_version(store, parent="", reason="test", select=lambda _: 1.0, known=KNOWN)
    return Made(store=store, version=version, endings=known)
