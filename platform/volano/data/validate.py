"""What an upload must satisfy to become an episode: small pure checks in a fixed order, the first finding wins.

`check_claims` looks at the manifest alone and runs before anything is downloaded. `examine` looks at the bytes and runs
in the sandbox's child (`volano.data.sandbox`), because Parquet and video decoders see them; each is decoded once, and
what statistics need of it is made there and then.
"""

from collections.abc import Callable, Collection, Generator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volano.data.episode import STEPS_FILE, Manifest, video_file
from volano.data.finding import Finding
from volano.data.sketch import EpisodeSketch, sketch_of
from volano.data.steps import Steps, read_steps
from volano.data.text import is_plain_text
from volano.data.validate_clock import CLOCK_SET, check_clock, check_dropped, check_jitter
from volano.data.validate_motion import (
    check_dead_actions,
    check_no_motion,
    check_order,
    check_repeated_rows,
    check_saturation,
    check_spikes,
    check_stuck,
    check_units,
)
from volano.data.validate_pictures import (
    check_black,
    check_flat,
    check_frozen,
    check_order_of_cameras,
    check_repeated,
    check_same_pictures,
    check_video_clock,
    check_white,
)
from volano.data.validate_video import frame_size, read_video
from volano.data.video_summary import VideoSummary
from volano.embodiment.contract import Channel, Embodiment
from volano.errors import Code, DataError
from volano.storage.content import sha256_file

LIMIT_TOLERANCE = 0.01
"""Share of a channel's range by which a value may pass its limit: sensors and filters overshoot a little."""
MAX_BUNDLE_BYTES = 4 << 30
"""Most bytes of one upload: it has to fit a worker's disk together with its batch."""
_MAX_REQUEST = 200
"""Most characters of an answer's identifier: a few bytes of Parquet can stand for a gigabyte of text."""
_EXECUTED = frozenset({"policy", "fallback", "expert"})


def check_claims(manifest: Manifest, upload: str, known: Mapping[str, Embodiment]) -> Finding | None:
    """Check what the manifest says, against its key `uploads/<robot>/<attempt>.json` and the known contracts
    (fingerprint to embodiment)."""
    if upload != f"uploads/{manifest.robot}/{manifest.attempt}.json":
        evidence = f"{upload} holds the manifest of {manifest.robot}/{manifest.attempt}"
        return Finding.of(Code.DATA_ROBOT, evidence)
    embodiment = known.get(manifest.fingerprint)
    if embodiment is None:
        return Finding.of(Code.DATA_CONTRACT, f"no known embodiment has fingerprint {manifest.fingerprint[:12]}")
    if (manifest.embodiment, manifest.rate_hz) != (embodiment.tag, embodiment.rate_hz):
        evidence = f"claims {manifest.embodiment!r} at {manifest.rate_hz} Hz; the contract differs"
        return Finding.of(Code.DATA_CONTRACT, evidence)
    size = sum(entry.size for entry in manifest.files.values())
    if size > MAX_BUNDLE_BYTES:
        return Finding.of(Code.DATA_SIZE, f"the bundle has {size} bytes, more than {MAX_BUNDLE_BYTES}")
    if not manifest.instruction.strip():
        return Finding.of(Code.DATA_LANGUAGE, "the instruction is empty")
    if manifest.started_at < CLOCK_SET:
        return Finding.of(
            Code.DATA_CLOCK_UNSET, f"started {manifest.started_at:.0f} s after 1970, by the robot's clock"
        )
    if manifest.outcome.autonomous and any(segment.kind == "intervention" for segment in manifest.segments):
        return Finding.of(Code.DATA_OUTCOME, "the outcome is autonomous, and a segment is an intervention")
    expected = _expected_files(embodiment)
    if missing := sorted(expected - set(manifest.files)):
        return Finding.of(Code.DATA_MISSING_FILE, f"the manifest does not name {missing[0]}")
    if foreign := sorted(set(manifest.files) - expected):
        return Finding.of(Code.DATA_CONTRACT, f"the contract has no {foreign[0]}")
    return None


def check_bundle(
    folder: Path, manifest: Manifest, embodiment: Embodiment, overruled: Collection[Code] = ()
) -> Finding | None:
    """`examine` for those who want to know what is wrong only."""
    found = examine(folder, manifest, embodiment, overruled)
    return found if isinstance(found, Finding) else None


def examine(
    folder: Path, manifest: Manifest, embodiment: Embodiment, overruled: Collection[Code] = ()
) -> Finding | EpisodeSketch | None:
    """Check a downloaded bundle's bytes against its manifest and contract: the first finding, or the sketch of a sound
    episode. Never raises for bad data. What a person has overruled is no finding, and what comes after it is still
    looked for; None when that was as far as one could look."""
    findings = _findings(folder, manifest, embodiment)
    while True:
        try:
            finding = next(findings)
        except StopIteration as end:
            return sketch_of(manifest, embodiment, *end.value) if end.value else None
        if finding is not None and finding.code not in overruled:
            return finding


def _findings(
    folder: Path, manifest: Manifest, embodiment: Embodiment
) -> Generator[Finding | None, None, tuple[Steps, dict[str, NDArray[np.int64]]] | None]:
    """What is found, one after another; at the end the ticks, and the levels of each camera."""
    yield check_files(folder, manifest)
    try:
        steps = read_steps(folder / STEPS_FILE, embodiment, frames=manifest.frames)
    except DataError as error:
        yield Finding.of(error.code, error.cause)
        return None
    for check in _TABLE_CHECKS:
        yield check(steps, manifest, embodiment)
    cameras = embodiment.cameras
    if len(cameras) > 1:
        sizes = {camera.name: frame_size(folder / video_file(camera.name)) for camera in cameras}
        yield check_order_of_cameras(sizes, cameras)
    videos = list[VideoSummary]()
    for camera in cameras:
        found = read_video(folder / video_file(camera.name), camera, frames=manifest.frames)
        if isinstance(found, Finding):
            yield found
            return None
        yield from (look(found, steps, embodiment) for look in _PICTURE_CHECKS)
        videos.append(found)
    yield check_same_pictures(videos)
    return steps, {camera.name: video.levels for camera, video in zip(cameras, videos, strict=True)}


def check_files(folder: Path, manifest: Manifest) -> Finding | None:
    """Every named file is there with the size and hash that the manifest gives."""
    for name, entry in sorted(manifest.files.items()):
        path = folder / name
        if not path.is_file():
            return Finding.of(Code.DATA_MISSING_FILE, f"{name} was not uploaded")
        if path.stat().st_size != entry.size:
            return Finding.of(Code.DATA_HASH, f"{name} has {path.stat().st_size} bytes, not {entry.size}")
        if sha256_file(path) != entry.sha256:
            return Finding.of(Code.DATA_HASH, f"{name} does not have the hash {entry.sha256[:12]}")
    return None


def check_rows(steps: Steps, _manifest: Manifest, _embodiment: Embodiment) -> Finding | None:
    """Rows are numbered from 0 without gaps."""
    wrong = np.flatnonzero(steps.frame_index != np.arange(len(steps.frame_index)))
    if wrong.size:
        at = int(wrong[0])
        return Finding.of(Code.DATA_SCHEMA, f"row {at} has frame_index {steps.frame_index[at]}")
    return None


def check_texts(steps: Steps, manifest: Manifest, _embodiment: Embodiment) -> Finding | None:
    """Segments, policies and executed sources of the rows agree with the manifest."""
    kinds = [segment.kind for segment in manifest.segments for _ in range(segment.start, segment.end)]
    if steps.segment != kinds:
        return Finding.of(Code.DATA_SCHEMA, "the column `segment` differs from the manifest's segments")
    for request in set(steps.request):
        if len(request) > _MAX_REQUEST or not is_plain_text(request):
            return Finding.of(Code.DATA_SCHEMA, f"`request` holds {len(request)} characters that name no answer")
    if unknown := sorted(set(steps.executed) - _EXECUTED):
        return Finding.of(Code.DATA_SCHEMA, f"`executed` holds {unknown[0]!r}")
    if foreign := sorted(set(steps.policy) - {*manifest.policies, ""}):
        return Finding.of(Code.DATA_SCHEMA, f"`policy` holds {foreign[0][:12]!r}, which the manifest does not name")
    return None


def check_provenance(steps: Steps, manifest: Manifest, _embodiment: Embodiment) -> Finding | None:
    """A policy is named exactly where its action was executed, and every policy of the manifest acted."""
    for row, (policy, executed) in enumerate(zip(steps.policy, steps.executed, strict=True)):
        if bool(policy) != (executed == "policy"):
            return Finding.of(
                Code.DATA_PROVENANCE, f"row {row} was executed by {executed!r}, its policy {policy[:12]!r}"
            )
    if idle := sorted({*manifest.policies} - {*steps.policy}):
        return Finding.of(Code.DATA_PROVENANCE, f"the manifest names policy {idle[0][:12]}, which never acted")
    return None


def check_finite(steps: Steps, _manifest: Manifest, _embodiment: Embodiment) -> Finding | None:
    """No NaN and no infinity in state or action."""
    for name, values in (("state", steps.state), ("action", steps.action)):
        bad = np.argwhere(~np.isfinite(values))
        if bad.size:
            row, channel = bad[0]
            return Finding.of(Code.DATA_NOT_FINITE, f"{name}[{row}, {channel}] is {values[row, channel]}")
    return None


def check_limits(steps: Steps, _manifest: Manifest, embodiment: Embodiment) -> Finding | None:
    """State and action stay within the contract's limits, give or take LIMIT_TOLERANCE of the range."""
    state = _beyond("state", steps.state, embodiment.state)
    return state or _beyond("action", steps.action, embodiment.action)


def _beyond(name: str, values: NDArray[np.float32], channels: tuple[Channel, ...]) -> Finding | None:
    low = np.array([channel.low for channel in channels])
    high = np.array([channel.high for channel in channels])
    slack = LIMIT_TOLERANCE * (high - low)
    bad = np.argwhere((values < low - slack) | (values > high + slack))
    if not bad.size:
        return None
    row, column = bad[0]
    channel = channels[column]
    evidence = (
        f"{name} {channel.name} is {values[row, column]:.4g} at row {row}, limits [{channel.low}, {channel.high}]"
    )
    return Finding.of(Code.DATA_LIMITS, evidence)


def _expected_files(embodiment: Embodiment) -> set[str]:
    return {STEPS_FILE, *(video_file(camera.name) for camera in embodiment.cameras)}


_TABLE_CHECKS: tuple[Callable[[Steps, Manifest, Embodiment], Finding | None], ...] = (
    check_rows,
    check_clock,
    check_jitter,
    check_dropped,
    check_texts,
    check_provenance,
    check_finite,
    check_units,
    check_limits,
    check_spikes,
    check_saturation,
    check_no_motion,
    check_stuck,
    check_dead_actions,
    check_order,
    check_repeated_rows,
)
_PICTURE_CHECKS: tuple[Callable[[VideoSummary, Steps, Embodiment], Finding | None], ...] = (
    check_video_clock,
    check_black,
    check_white,
    check_flat,
    check_frozen,
    check_repeated,
)
