"""The journal of an attempt under way: what is recorded reaches the disk as it comes, and a cut leaves a sound prefix.

An append-only file of entries, each with its length and a CRC-32 that goes on from the entry before it, so that what
follows a torn, lost or foreign byte is never believed. The first entry says what is recorded, each other one holds a
tick and the encoded frames that came out with it. An entry survives SIGKILL once it was appended, and a power cut some
SYNC_S seconds later. Whoever writes holds a lock on the file, which the system takes back when the process dies.
"""

import fcntl
import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from volano.data.episode import SegmentKind
from volano.data.video import EncodedFrame
from volano.embodiment.contract import Embodiment
from volano.errors import Code, DataError
from volano.storage.files import cannot_write, open_plain, sync_folder, write_all

SYNC_S = 2.0
"""Seconds of recording after which the journal is synced, beside the recording."""
SCHEMA = "volano.recording.1"
_FRAME = struct.Struct("<II")
"""Length of an entry in bytes, and the CRC-32 over it and all before it."""
_MAX_ENTRY_BYTES = 64 << 20
_DAMAGED = (ValueError, KeyError, TypeError, OverflowError, RecursionError)
"""What an entry of another form raises when it is taken apart."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """What was known of an attempt when it began."""

    robot: str
    attempt: str
    task: str
    instruction: str
    started_at: float
    embodiment: Embodiment


@dataclass(frozen=True, kw_only=True)
class Tick:
    """One row of the episode's table; see `episode.STEPS_FILE`."""

    timestamp: float
    state: NDArray[np.float32]
    action: NDArray[np.float32]
    segment: SegmentKind
    policy: str
    request: str
    executed: str


@dataclass(frozen=True, kw_only=True)
class CameraFrame:
    """An encoded frame of a camera; a camera's frames come in order, some ticks after their own."""

    camera: str
    headers: bytes
    """What its decoder needs first; with the camera's first frame, else empty."""
    frame: EncodedFrame


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What was appended at once."""

    tick: Tick | None
    """None when only frames were left to come."""
    frames: tuple[CameraFrame, ...]


class Journal:
    """The writing side, of one recorder."""

    def __init__(self, path: Path, start: Start) -> None:
        """Begin a new file, durably; an OSError of the system is passed on."""
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._checksum = 0
        self._unsynced = 0
        self._ticks_per_sync = max(1, round(start.embodiment.rate_hz * SYNC_S))
        self._syncing: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal-sync")
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            self._write([_json({"schema": SCHEMA, **asdict(start)})])
            os.fsync(self._descriptor)
            sync_folder(path.parent)
        except BaseException:
            self.close()
            raise

    def append(self, entry: Entry) -> None:
        """Add an entry; returns when the system has it. Raises StorageError: E-STORE-003 when the disk is full, else
        E-STORE-004; the file must not be appended to after that."""
        tick, data = entry.tick, list[bytes]()
        head: dict[str, Any] = {}
        if tick is not None:
            texts = {name: getattr(tick, name) for name in ("segment", "policy", "request", "executed")}
            head["tick"] = {"timestamp": tick.timestamp, **texts}
            data += [tick.state.astype("<f4").tobytes(), tick.action.astype("<f4").tobytes()]
        head["frames"] = [[one.camera, one.headers.hex(), len(one.frame.data), one.frame.key] for one in entry.frames]
        data += [one.frame.data for one in entry.frames]
        try:
            self._write([_json(head), *data])
            if tick is not None:
                self._sync_now_and_then()
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def close(self) -> None:
        """Let go of the file and its lock; more than once is harmless."""
        if self._descriptor >= 0:
            self._thread.shutdown()
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, pieces: Sequence[bytes]) -> None:
        payload = b"".join([pieces[0], b"\n", *pieces[1:]])
        if len(payload) > _MAX_ENTRY_BYTES:
            raise DataError(Code.DATA_RECORDING, f"a tick of {len(payload)} bytes", "record smaller images")
        self._checksum = zlib.crc32(payload, self._checksum)
        write_all(self._descriptor, _FRAME.pack(len(payload), self._checksum) + payload)

    def _sync_now_and_then(self) -> None:
        """Start to sync when it is time. A disk that still has the last one to do is waited for, so that what a power
        cut may take stays bounded; its error is raised here."""
        self._unsynced += 1
        if self._unsynced >= self._ticks_per_sync:
            if self._syncing is not None:
                self._syncing.result()
            self._syncing = self._thread.submit(os.fsync, self._descriptor)
            self._unsynced = 0


class Reader:
    """The reading side: the start, then every entry that can be believed."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises DataError(E-DATA-060) when the file does not even begin as a journal does."""
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._checksum = 0
        self.position = 0
        """Bytes that were believed."""
        self.reason = ""
        """Why nothing behind `position` is; empty when there is nothing, or while entries are left."""
        payload = self._next()
        try:
            self.start = _start(payload or b"")
        except _DAMAGED as error:
            cause = f"the journal does not say what it is of: {self.reason or error}"
            raise DataError(Code.DATA_RECORDING, cause, "nothing can be kept; remove the folder") from error

    def entries(self) -> Iterator[Entry]:
        """Every entry behind the start that can be believed; ends where one cannot."""
        robot = self.start.embodiment
        while (payload := self._next()) is not None:
            try:
                entry = _entry(payload, robot)
            except _DAMAGED as error:
                self.position -= _FRAME.size + len(payload)
                self.reason = f"an entry of another form: {error}"
                return
            yield entry

    def _next(self) -> bytes | None:
        head = self._file.read(_FRAME.size)
        if not head:
            return None
        if len(head) < _FRAME.size:
            self.reason = "the last entry was cut off"
            return None
        length, checksum = _FRAME.unpack(head)
        if not 0 < length <= _MAX_ENTRY_BYTES:
            self.reason = f"an entry of {length} bytes is none"
            return None
        payload = self._file.read(length)
        if len(payload) < length:
            self.reason = "the last entry was cut off"
            return None
        self._checksum = zlib.crc32(payload, self._checksum)
        if self._checksum != checksum:
            self.reason = "an entry does not have its checksum"
            return None
        self.position += _FRAME.size + length
        return payload

    @property
    def left(self) -> int:
        """Bytes of the file that were not believed."""
        return self._size - self.position


def open_journal(path: Path) -> BinaryIO | None:
    """Open for reading, with the lock that its writer would hold; None when somebody else holds it."""
    file = open_plain(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def is_under_way(path: Path) -> bool:
    """Whether a living process writes or repairs this journal."""
    with suppress(FileNotFoundError):
        file = open_journal(path)
        if file is None:
            return True
        file.close()
    return False


def _json(data: object) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()


def _start(payload: bytes) -> Start:
    fields = json.loads(payload)
    if not isinstance(fields, dict) or fields.pop("schema", None) != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA}")
    fields["embodiment"] = Embodiment.from_json(fields["embodiment"])
    return Start(**fields)


def _entry(payload: bytes, robot: Embodiment) -> Entry:
    head, _, data = payload.partition(b"\n")
    fields: dict[str, Any] = json.loads(head)
    tick, position = None, 0
    if "tick" in fields:
        width = len(robot.state) + len(robot.action)
        values = np.frombuffer(data, "<f4", count=width).astype(np.float32)
        tick = Tick(state=values[: len(robot.state)], action=values[len(robot.state) :], **fields["tick"])
        _require_plain(tick)
        position = values.nbytes
    names, frames = {camera.name for camera in robot.cameras}, []
    for camera, headers, size, key in fields["frames"]:
        if camera not in names or not 0 < size <= len(data) - position:
            raise ValueError(f"a frame of {camera!r} with {size} bytes")
        frame = EncodedFrame(data=data[position : position + size], key=bool(key))
        frames.append(CameraFrame(camera=camera, headers=bytes.fromhex(headers), frame=frame))
        position += size
    if position != len(data):
        raise ValueError(f"{len(data) - position} bytes too many")
    return Entry(tick=tick, frames=tuple(frames))


def _require_plain(tick: Tick) -> None:
    """Raise TypeError, ValueError or OverflowError unless a table can hold a tick's own values."""
    if type(tick.timestamp) not in (int, float):
        raise TypeError(f"a time of {type(tick.timestamp).__name__}")
    float(tick.timestamp)
    "".join((tick.segment, tick.policy, tick.request, tick.executed)).encode()
