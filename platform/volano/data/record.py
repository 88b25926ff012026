"""Recording an episode on the robot into a durable bundle: a folder with the ticks, one video per camera, a manifest.

Row t holds the observation before tick t and the action of tick t. Ticks reach the disk as they come, in a journal
(`volano.data.recording`); `manifest.json` is written last, by one rename after everything else is on the disk. A
folder without it is torn and never uploaded, whatever killed the robot; `volano data repair` keeps what its journal
holds. A bundle with it is complete and survives a power cut. An encoder or disk that is slow slows the recorder: no
frame is dropped.
"""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from volano.data.assemble import commit, write_files
from volano.data.bundle import JOURNAL_FILE, MANIFEST_FILE
from volano.data.episode import Outcome, SegmentKind, video_file
from volano.data.recording import CameraFrame, Entry, Journal, Start, Tick, is_under_way
from volano.data.text import is_plain_text
from volano.data.video import EncodedFrame, VideoEncoder
from volano.embodiment.contract import Embodiment
from volano.errors import Code, DataError
from volano.storage.files import open_plain, sync_folder

Executed = Literal["policy", "fallback", "expert"]
FloatArray = NDArray[np.floating]
_LOG = logging.getLogger(__name__)


class Recorder:
    """Records one attempt into `<folder>/<attempt>`."""

    def __init__(
        self,
        folder: Path,
        embodiment: Embodiment,
        *,
        robot: str,
        attempt: str,
        task: str,
        instruction: str,
        started_at: float,
    ) -> None:
        """`started_at` is Unix time in seconds by the robot's clock. A torn folder of this attempt is replaced; raises
        DataError(E-DATA-018) when a complete bundle is there, or another process records this attempt."""
        self._embodiment = embodiment
        self._attempt = attempt
        self._bundle = _new_folder(folder, attempt)
        self._encoders = {
            camera.name: VideoEncoder(video_file(camera.name), embodiment.rate_hz) for camera in embodiment.cameras
        }
        start = Start(
            robot=robot,
            attempt=attempt,
            task=task,
            instruction=instruction,
            started_at=started_at,
            embodiment=embodiment,
        )
        self._begun: set[str] = set()
        """Cameras of which a frame is in the journal."""
        self._journal = Journal(self._bundle / JOURNAL_FILE, start)
        self._ticks = 0
        self._state: Literal["open", "broken", "ended", "finished"] = "open"
        """`broken` while something is written, and for ever when that failed."""

    def tick(
        self,
        timestamp: float,
        images: Mapping[str, NDArray[np.uint8]],
        state: FloatArray,
        action: FloatArray,
        *,
        segment: SegmentKind,
        policy: str,
        request: str,
        executed: Executed,
    ) -> None:
        """Append one tick: the observation before it (`images` of shape (H, W, 3), `state`) and its `action`.

        `timestamp` is in seconds from the episode's start by a monotonic clock; texts as in `episode.STEPS_FILE`.
        Raises DataError and records nothing: E-DATA-010 when cameras or shapes are not the contract's, E-DATA-005 for
        an unknown segment, an unknown source, a policy named when none acted, or a name that is no plain text. Raises
        StorageError when the disk is full or fails, and from then on DataError(E-DATA-060): the attempt is torn, what
        came before can be repaired.
        """
        self._check_arrays(images, state, action)
        _check_texts(segment, policy, request, executed)
        self._require("open")
        row = Tick(
            timestamp=float(timestamp),
            state=np.asarray(state, np.float32),
            action=np.asarray(action, np.float32),
            segment=segment,
            policy=policy,
            request=request,
            executed=executed,
        )
        self._state = "broken"
        frames = [
            one
            for name, encoder in self._encoders.items()
            for one in self._named(name, encoder, encoder.add(images[name]))
        ]
        self._journal.append(Entry(tick=row, frames=tuple(frames)))
        self._ticks += 1
        self._state = "open"

    def finish(self, outcome: Outcome, *, rollout: str = "", arm: str = "") -> Path:
        """Make the bundle complete and durable, and return its folder.

        Raises DataError: E-DATA-014 when what was recorded is no episode (no tick, a name that is not plain),
        E-DATA-060 when a tick could not be written; the folder stays torn then.
        """
        if not self._ticks:
            raise DataError(Code.DATA_MANIFEST, f"attempt {self._attempt!r} has no tick", "record at least one tick")
        self._end()
        self._require("ended")
        with open_plain(self._bundle / JOURNAL_FILE) as file:
            manifest = write_files(file, self._bundle, self._ticks, outcome, rollout, arm)
        commit(self._bundle, manifest)
        self._state = "finished"
        self._journal.close()
        return self._bundle

    def close(self) -> None:
        """Let go of encoders and files; without `finish` the folder stays torn, with every tick in its journal."""
        try:
            self._end()
        finally:
            self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _end(self) -> None:
        """Write the frames that the encoders still hold."""
        if self._state != "open":
            return
        self._state = "broken"
        for name, encoder in self._encoders.items():
            self._journal.append(Entry(tick=None, frames=tuple(self._named(name, encoder, encoder.end()))))
        self._state = "ended"

    def _named(self, name: str, encoder: VideoEncoder, frames: list[EncodedFrame]) -> list[CameraFrame]:
        found = []
        for frame in frames:
            first = name not in self._begun
            self._begun.add(name)
            found.append(CameraFrame(camera=name, headers=encoder.headers if first else b"", frame=frame))
        return found

    def _require(self, state: str) -> None:
        if self._state != state:
            raise DataError(
                Code.DATA_RECORDING,
                f"attempt {self._attempt!r} takes no more: it has ended, or a tick could not be written",
                f"keep what was recorded: volano data repair {self._bundle.parent}",
            )

    def _check_arrays(self, images: Mapping[str, NDArray[np.uint8]], state: FloatArray, action: FloatArray) -> None:
        robot = self._embodiment
        expected = {camera.name: f"uint8 {(camera.height, camera.width, 3)}" for camera in robot.cameras}
        sent = {name: f"{image.dtype} {image.shape}" for name, image in images.items()}
        if sent != expected:
            raise _foreign(robot, f"images {sent}, the contract has {expected}")
        if state.shape != (len(robot.state),) or action.shape != (len(robot.action),):
            channels = f"{len(robot.state)} and {len(robot.action)} channels"
            raise _foreign(robot, f"state {state.shape} and action {action.shape}, the contract has {channels}")


def _new_folder(folder: Path, attempt: str) -> Path:
    bundle = folder / attempt
    if attempt in {"", ".", ".."} or bundle.name != attempt:
        raise DataError(Code.DATA_MANIFEST, f"attempt {attempt!r} is not a plain name", "use letters, digits, - _ .")
    if (bundle / MANIFEST_FILE).exists():
        raise DataError(Code.DATA_ATTEMPT, f"attempt {attempt!r} is already recorded", "give every attempt a new name")
    folder.mkdir(parents=True, exist_ok=True)
    if bundle.exists():
        if is_under_way(bundle / JOURNAL_FILE):
            raise DataError(
                Code.DATA_ATTEMPT, f"attempt {attempt!r} is being recorded", "give every attempt a new name"
            )
        _LOG.warning("%s was torn and is recorded anew", bundle)
        shutil.rmtree(bundle)
    bundle.mkdir()
    sync_folder(folder)
    return bundle


def _check_texts(segment: str, policy: str, request: str, executed: str) -> None:
    if not is_plain_text(policy + request):
        raise DataError(
            Code.DATA_SCHEMA, f"policy {policy[:12]!r}, request {request[:12]!r}", "name them in plain characters"
        )
    if segment not in get_args(SegmentKind) or executed not in get_args(Executed):
        raise DataError(
            Code.DATA_SCHEMA, f"segment {segment!r}, executed {executed!r}", "use the words of the episode's schema"
        )
    if bool(policy) != (executed == "policy"):
        raise DataError(
            Code.DATA_SCHEMA,
            f"executed is {executed!r} and policy {policy[:12]!r}",
            "name the policy of a tick exactly when its action was executed",
        )


def _foreign(embodiment: Embodiment, cause: str) -> DataError:
    return DataError(Code.DATA_CONTRACT, f"{embodiment.tag}: {cause}", "record with the robot's own embodiment")
