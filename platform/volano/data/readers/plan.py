"""What converting an episode would do, and what stands in its way, worked out from its outline; nothing is written.

The conversion itself follows the same plan, so that what was said is what happens.
"""

from collections.abc import Mapping as MappingType
from dataclasses import dataclass

from volano.data.readers import footage
from volano.data.readers.footage import Cut
from volano.data.readers.foreign import MAX_FRAMES, ForeignEpisode, ForeignImages
from volano.data.readers.mapping import CameraOf, ChannelOf, ColumnOf, Mapping, SuccessOf, nearest
from volano.data.text import is_plain_text
from volano.embodiment.contract import Camera, Embodiment
from volano.errors import Code, DataError

_RATE_TOLERANCE = 0.05
_EXACT = frozenset({"float16", "float32", "bool", "int8", "uint8", "int16", "uint16"})
"""Types of which every value is a float32."""


@dataclass(frozen=True, kw_only=True)
class CameraPlan:
    """What becomes of one camera."""

    treatment: str
    """`copy`: byte for byte; `cut`: the same packets in a new file; `encode`: decoded and encoded."""
    reason: str
    """Why it is encoded; empty otherwise."""
    size: int
    """Bytes that are copied; of images that are encoded, their uncompressed bytes."""
    cut: Cut | None = None


@dataclass(frozen=True, kw_only=True)
class EpisodePlan:
    """What becomes of one episode."""

    frames: int
    instruction: str
    started_at: float
    cameras: MappingType[str, CameraPlan]
    notes: tuple[str, ...]
    """What is lost or changed on the way."""


def plan(episode: ForeignEpisode, mapping: Mapping, embodiment: Embodiment) -> EpisodePlan:
    """The plan of an episode for a mapping that fits the embodiment; raises DataError with the first thing in its way:
    E-DATA-081 when the mapping names what is not there, E-DATA-009 for another rate, E-DATA-011 without an instruction,
    and what `footage.find` raises."""
    if not 0 < episode.frames <= MAX_FRAMES:
        raise _hindered(Code.DATA_SIZE, f"it has {episode.frames} rows")
    if abs(episode.rate_hz - embodiment.rate_hz) > _RATE_TOLERANCE * embodiment.rate_hz:
        rates = f"it runs at {episode.rate_hz:g} Hz, {embodiment.tag} at {embodiment.rate_hz:g} Hz"
        raise _hindered(Code.DATA_CLOCK, f"{rates}: actions of one rate are not actions of another")
    started_at = episode.started_at or mapping.started_at
    if started_at is None:
        raise _hindered(Code.DATA_MAPPING, "neither the source nor the mapping says when it was recorded (started_at)")
    notes = [note for part in (mapping.state, mapping.action) for note in _notes(part, episode)]
    if isinstance(mapping.success, SuccessOf):
        column_of(mapping.success.place, episode)
    return EpisodePlan(
        frames=episode.frames,
        instruction=_instruction(episode, mapping),
        started_at=started_at,
        cameras={camera.name: _camera(episode, mapping.cameras[camera.name], camera) for camera in embodiment.cameras},
        notes=tuple(dict.fromkeys(notes)),
    )


def column_of(place: ColumnOf, episode: ForeignEpisode) -> int:
    """The number of a field's column; raises DataError(E-DATA-081) when the source has not got it."""
    field = episode.fields.get(place.field)
    if field is None:
        raise _hindered(
            Code.DATA_MAPPING, f"the source has no field {place.field!r}{nearest(place.field, episode.fields)}"
        )
    if isinstance(place.column, str):
        if field.names.count(place.column) != 1:
            near = nearest(place.column, field.names)
            raise _hindered(Code.DATA_MAPPING, f"{place.field!r} has no single column {place.column!r}{near}")
        return field.names.index(place.column)
    if place.column >= field.width:
        raise _hindered(Code.DATA_MAPPING, f"{place.field!r} has {field.width} columns, none of number {place.column}")
    return place.column


def _notes(part: MappingType[str, ChannelOf], episode: ForeignEpisode) -> list[str]:
    notes = []
    for channel in part.values():
        column_of(channel.place, episode)
        dtype = episode.fields[channel.place.field].dtype
        if dtype not in _EXACT:
            notes.append(f"{channel.place.field} is {dtype}: rounded to float32")
    return notes


def _instruction(episode: ForeignEpisode, mapping: Mapping) -> str:
    if not mapping.instruction_field:
        return mapping.instruction
    if mapping.instruction_field not in episode.texts:
        near = nearest(mapping.instruction_field, episode.texts)
        raise _hindered(Code.DATA_MAPPING, f"the source has no text {mapping.instruction_field!r}{near}")
    text = episode.texts[mapping.instruction_field]
    if not text.strip() or len(text) > 1000 or not is_plain_text(text):
        raise _hindered(Code.DATA_LANGUAGE, "its instruction is empty, too long, or holds hidden characters")
    return text


def _camera(episode: ForeignEpisode, mapped: CameraOf, camera: Camera) -> CameraPlan:
    foreign = episode.cameras.get(mapped.field)
    if foreign is None:
        near = nearest(mapped.field, episode.cameras)
        raise _hindered(Code.DATA_MAPPING, f"the source has no camera {mapped.field!r}{near}")
    if isinstance(foreign, ForeignImages):
        size = (foreign.height, foreign.width)
        if mapped.fit == "exact" and size != (camera.height, camera.width):
            sizes = f"{foreign.height} x {foreign.width}, the contract's {camera.height} x {camera.width}"
            raise _hindered(Code.DATA_CONTRACT, f"{mapped.field!r} is {sizes}: let the mapping stretch or crop it")
        bytes_raw = episode.frames * foreign.height * foreign.width * 3
        return CameraPlan(treatment="encode", reason=f"single images, {foreign.coding}", size=bytes_raw)
    cut = footage.find(foreign, episode.frames, camera, exact=mapped.fit == "exact")
    return CameraPlan(treatment=cut.treatment, reason=cut.reason, size=cut.size, cut=cut)


def _hindered(code: Code, cause: str) -> DataError:
    fixes = {
        Code.DATA_MAPPING: "correct the mapping; docs/formats.md describes it",
        Code.DATA_CLOCK: "resample the source with its own tools, or use the contract of its own rate",
    }
    return DataError(code, cause, fixes.get(code, "correct the mapping or the source, or leave the episode out"))
