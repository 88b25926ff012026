"""What each finding about an upload means, what can be done about it, and whether a person may overrule it.

A finding may be overruled only where what it is about is a judgement, never where bytes are missing, torn or of another
shape: whatever a person says, training must read sound numbers and pictures. An overrulable code must be the only one
that its check gives, or overruling it would hide the other.
"""

from dataclasses import dataclass

from volano.errors import Code, DataError


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """What a person needs to know about a code."""

    means: str
    fix: str
    overrulable: bool = False


_SEND = "send the attempt again from the robot's disk; where it is damaged there too, record it again"
_RECORD = "record the attempt again with a client that fits"
_READMIT = "look at the evidence; when the episode is sound all the same: volano data quarantine readmit"
REMEDIES = {
    Code.DATA_TRUNCATED_VIDEO: Remedy(means="a video does not decode to its end", fix=_SEND),
    Code.DATA_FRAME_COUNT: Remedy(means="videos and rows differ in number", fix=_RECORD),
    Code.DATA_NOT_FINITE: Remedy(
        means="NaN or infinity in states or actions", fix="find the sensor or driver that wrote it, then record again"
    ),
    Code.DATA_LIMITS: Remedy(means="values outside the contract's limits", fix=_READMIT, overrulable=True),
    Code.DATA_SCHEMA: Remedy(means="columns, types or shapes are others than stated", fix=_RECORD),
    Code.DATA_HASH: Remedy(means="a file is not the one that the manifest names", fix=_SEND),
    Code.DATA_DUPLICATE: Remedy(
        means="the same content was uploaded before", fix="nothing is lost: the other upload stands for both"
    ),
    Code.DATA_MISSING_FILE: Remedy(means="a named file was not uploaded", fix=_SEND),
    Code.DATA_CLOCK: Remedy(
        means="time stands still, jumps or has another rate", fix=_READMIT, overrulable=True
    ),  # training counts frames and never reads the robot's clock
    Code.DATA_CONTRACT: Remedy(
        means="recorded for another contract", fix="bring robot and platform to one contract, then record again"
    ),
    Code.DATA_LANGUAGE: Remedy(
        means="no instruction, or one with hidden characters",
        fix="send the same files again as a new attempt with its instruction",
    ),
    Code.DATA_DECODER: Remedy(
        means="the checking process died of this upload", fix="send the same files again as a new attempt; look at them"
    ),
    Code.DATA_MANIFEST: Remedy(means="no sound manifest", fix=_RECORD),
    Code.DATA_ROBOT: Remedy(
        means="another robot's name", fix="find out who wrote under that key; send it again under its own name"
    ),
    Code.DATA_SIZE: Remedy(means="larger than allowed", fix="record shorter attempts"),
    Code.DATA_CLOCK_JITTER: Remedy(means="ticks come in bursts", fix=_READMIT, overrulable=True),
    Code.DATA_DROPPED_TICKS: Remedy(means="ticks were left out again and again", fix=_READMIT, overrulable=True),
    Code.DATA_FROZEN_CAMERA: Remedy(
        means="a camera's picture stands still while the robot moves",
        fix=_READMIT,
        overrulable=True,
    ),
    Code.DATA_REPEATED_FRAMES: Remedy(
        means="a camera repeats its pictures: it is slower than the contract",
        fix=_READMIT,
        overrulable=True,
    ),
    Code.DATA_BLACK_IMAGE: Remedy(means="black pictures", fix=_READMIT, overrulable=True),
    Code.DATA_WHITE_IMAGE: Remedy(means="over-exposed pictures", fix=_READMIT, overrulable=True),
    Code.DATA_FLAT_IMAGE: Remedy(means="pictures of one colour", fix=_READMIT, overrulable=True),
    Code.DATA_VIDEO_CLOCK: Remedy(
        means="a video's frames do not stand at the contract's rate",
        fix="encode at the contract's constant rate, then record again",
    ),
    Code.DATA_SWAPPED_CAMERAS: Remedy(
        means="two cameras were swapped",
        fix="exchange the two devices' names on the robot, then record again",
    ),
    Code.DATA_SAME_PICTURES: Remedy(means="two cameras show the same", fix=_READMIT, overrulable=True),
    Code.DATA_SATURATED: Remedy(
        means="an expert's actions are at their limits all the time",
        fix=_READMIT,
        overrulable=True,
    ),
    Code.DATA_STUCK_CHANNEL: Remedy(means="a joint or sensor is stuck", fix=_READMIT, overrulable=True),
    Code.DATA_NO_MOTION: Remedy(means="nothing moves, whatever is commanded", fix=_READMIT, overrulable=True),
    Code.DATA_DEAD_ACTIONS: Remedy(
        means="the robot moves, and an expert's actions say nothing",
        fix=_READMIT,
        overrulable=True,
    ),
    Code.DATA_UNITS: Remedy(
        means="degrees for radians, or millimetres for metres",
        fix="convert at the driver, then record again",
    ),
    Code.DATA_CHANNEL_ORDER: Remedy(means="channels stand in each other's place", fix=_READMIT, overrulable=True),
    Code.DATA_SPIKE: Remedy(means="a position leaps away and back", fix=_READMIT, overrulable=True),
    Code.DATA_REPEATED_ROWS: Remedy(
        means="states are repeated: they are slower than the contract",
        fix=_READMIT,
        overrulable=True,
    ),
    Code.DATA_PROVENANCE: Remedy(
        means="rows and policies contradict each other",
        fix="correct the recorder, which says who acted, then record again",
    ),
    Code.DATA_OUTCOME: Remedy(
        means="an outcome contradicts its segments",
        fix="correct how the outcome is labelled; send the same files again as a new attempt",
    ),
    Code.DATA_CLOCK_UNSET: Remedy(
        means="the robot's clock was never set",
        fix="set the robot's clock; send the same files again as a new attempt",
    ),
}


def remedy(code: str) -> Remedy:
    """What to say about a code, also about one that this table does not know."""
    known = {str(one): found for one, found in REMEDIES.items()}
    return known.get(code) or Remedy(means="a finding without a description here", fix="look at the evidence")


def require_overrulable(code: str) -> Code:
    """The code; raises DataError(E-DATA-070) for a finding that nobody can overrule."""
    found = remedy(code)
    if not found.overrulable:
        raise DataError(Code.DATA_READMIT, f"nobody can overrule {code}: {found.means}", found.fix)
    return Code(code)
