"""A run's checkpoints in an object store as well, so that it can go on where its machine is gone.

Relies on a prefix that is this run's alone, and on files as the only signal: whoever uploads looks for records in the
run's folder, so the training knows nothing of it. Objects are named by their content below the checkpoint's name; the
manifest that makes them a checkpoint is put last, by one conditional put. A store that fails delays uploads, nothing
else; the newest checkpoint goes first and passes over those that came meanwhile.
"""

import json
import logging
import random
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from volano.errors import Code, StorageError, TrainError, VolanoError
from volano.storage.content import canonical_json, sha256_bytes, sha256_file
from volano.storage.files import replace_file, sync_folder
from volano.storage.store import ObjectStore
from volano.train.checkpoint import IN_USE, RECORD, newest_name, sound_record
from volano.train.drift import CHANGES
from volano.train.layout import CHECKPOINTS, JOURNAL, RUN

logger = logging.getLogger(__name__)
_PREFIX, _MANIFEST = "checkpoints", "manifest.json"
_KEEP = 2
_SCHEMA = 1
_CLAIM = "run-id"
"""Both the object that says whose the store is, and the file in the run's folder that says the same."""
_LOOK_S, _FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 1.0, 60.0
_LAST_S = 60.0
"""How long a training that has ended waits for its last checkpoint to arrive."""
_BESIDE = (RUN, CHANGES, JOURNAL)
"""Of the run's folder, what goes with every checkpoint."""


def upload(store: ObjectStore, output: Path, name: str) -> bool:
    """Put a run's complete checkpoint into the store, unless it is there; True when this call did. Older ones than the
    newest two leave the store. Raises StorageError, of a checkpoint that is damaged E-STORE-007, or OSError when it
    cannot be read."""
    if store.exists(_key(name, _MANIFEST)):
        return False
    folder = output / CHECKPOINTS / name
    (folder / IN_USE).touch()
    try:
        record = sound_record(folder)
        if record is None:  # it would bear the name under which it can be made again
            raise StorageError(Code.STORE_CORRUPT, f"checkpoint {name} is damaged", "nothing: an older one is taken")
        for path, entry in record["files"].items():
            _put(store, name, folder / path, entry["sha256"])
        beside = {}
        for path in _BESIDE:
            if (output / path).exists():
                data = (output / path).read_bytes()
                beside[path] = sha256_bytes(data)
                store.put_new(_key(name, beside[path]), data)
        manifest = {"schema": _SCHEMA, "record": record, "beside": beside}
        store.put_new(_key(name, _MANIFEST), canonical_json(manifest))
    finally:
        (folder / IN_USE).unlink(missing_ok=True)
    _forget_old(store)
    return True


def claim(store: ObjectStore, output: Path) -> None:
    """Make the store this run's, or see that it is. Raises TrainError(E-TRAIN-001) when it is another's."""
    output.mkdir(parents=True, exist_ok=True)
    own = output / _CLAIM
    theirs = store.get(_CLAIM) if store.exists(_CLAIM) else None
    if not own.exists():
        if theirs is not None and (output / RUN).exists():
            raise _claimed(store)
        replace_file(own, [theirs or secrets.token_hex(16).encode()])
    if theirs is None and not store.put_new(_CLAIM, own.read_bytes()):
        theirs = store.get(_CLAIM)
    if theirs is not None and theirs != own.read_bytes():
        raise _claimed(store)


def restore(store: ObjectStore, output: Path, adopt: Callable[[bytes], bytes] = lambda description: description) -> str:
    """Bring the newest sound checkpoint of the store into a run's folder if that has none as new; its name, or empty.
    A folder without a run gets journal and description as well, the latter as `adopt` makes it, before the checkpoint
    is seen. Raises TrainError like `claim`, and StorageError when the store does not answer and the folder has no
    checkpoint: to begin anew would be worse."""
    try:
        claim(store, output)
        return _restore(store, output, adopt)
    except StorageError as error:
        if not newest_name(output / CHECKPOINTS):
            raise
        logger.warning("cannot look for newer checkpoints in %s, going on from those here: %s", store.url, error)
        return ""


def _restore(store: ObjectStore, output: Path, adopt: Callable[[bytes], bytes]) -> str:
    for name in sorted(_complete(store), reverse=True):
        if name <= newest_name(output / CHECKPOINTS):
            return ""
        try:
            manifest = json.loads(store.get(_key(name, _MANIFEST)))
            _fetch(store, output, name, manifest, adopt)
        except (ValueError, KeyError) as error:
            logger.warning("checkpoint %s in %s is damaged, taking an older one: %s", name, store.url, error)
        except StorageError as error:
            if error.code not in (Code.STORE_MISSING, Code.STORE_CORRUPT):
                raise
            logger.warning("checkpoint %s in %s is damaged, taking an older one: %s", name, store.url, error.cause)
        else:
            logger.info("going on from checkpoint %s of %s", name, store.url)
            return name
    return ""


class Uploader:
    """A thread that uploads the newest checkpoint whenever there is a new one."""

    def __init__(
        self, store: ObjectStore, output: Path, *, chance: Callable[[], float] = random.random, look_s: float = _LOOK_S
    ) -> None:
        """`chance` gives numbers in [0, 1) that spread repeated tries; `look_s`: seconds between two looks."""
        self._store, self._output, self._chance, self._look_s = store, output, chance, look_s
        self._ending, self._over = threading.Event(), threading.Event()
        self._there = ""
        self._since = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="checkpoint-uploader", daemon=True)
        for left in (output / CHECKPOINTS).glob(f"*/{IN_USE}"):  # by one that was killed
            left.unlink()
        self._thread.start()

    def finish(self, within_s: float) -> bool:
        """Wait for the newest checkpoint to arrive, and try no more; whether it did."""
        self._ending.set()
        self._thread.join(within_s)
        self._over.set()
        return not self._thread.is_alive() and self._there == newest_name(self._output / CHECKPOINTS)

    def _work(self) -> None:
        refused = 0
        while not self._over.is_set():
            last = self._ending.is_set()
            name = newest_name(self._output / CHECKPOINTS)
            if name == self._there:
                if last:
                    return
                self._since = time.monotonic()
                self._ending.wait(self._look_s)
                continue
            try:
                claim(self._store, self._output)
                if upload(self._store, self._output, name):
                    logger.info("uploaded checkpoint %s after %.1f s", name, time.monotonic() - self._since)
            except Exception as error:  # a defect as well: a thread that ends would say nothing until the run does
                refused += 1
                late = time.monotonic() - self._since
                defect = None if isinstance(error, VolanoError | OSError) else error
                words = "checkpoint %s is not in %s since %.0f s: %s"
                logger.warning(words, name, self._store.url, late, error, exc_info=defect)
                pause = min(_FIRST_PAUSE_S * 2**refused, _LONGEST_PAUSE_S) * (0.5 + self._chance())
                if self._ending.wait(pause):
                    self._over.wait(min(pause, _LOOK_S))
            else:
                self._there, refused = name, 0


@contextmanager
def uploading(store: ObjectStore | None, output: Path) -> Iterator[None]:
    """Upload a run's checkpoints until the block is left, and then for as long as the last one may take; without a
    store, nothing."""
    if store is None:
        yield
        return
    uploader = Uploader(store, output)
    try:
        yield
    finally:
        if not uploader.finish(_LAST_S):
            logger.warning("the newest checkpoint is not in %s; it stands in %s", store.url, output / CHECKPOINTS)


def _claimed(store: ObjectStore) -> TrainError:
    return TrainError(
        Code.TRAIN_CHECKPOINT,
        f"{store.url} holds the checkpoints of another run",
        "name a prefix of this run's own, or an empty output folder to go on with that run",
    )


def _put(store: ObjectStore, name: str, path: Path, digest: str) -> None:
    key = _key(name, digest)
    if not store.exists(key):
        store.put_new_file(key, path)


def _fetch(
    store: ObjectStore, output: Path, name: str, manifest: dict[str, Any], adopt: Callable[[bytes], bytes]
) -> None:
    if manifest["schema"] != _SCHEMA:
        raise ValueError(f"schema {manifest['schema']}, this Volano reads {_SCHEMA}")
    folder = output / CHECKPOINTS / name
    part = folder.with_name(f"fetched-{name}")
    shutil.rmtree(part, ignore_errors=True)
    places = {part}
    for path, entry in manifest["record"]["files"].items():
        target = part / _inside(path)
        places |= {part / parent for parent in Path(path).parents}
        target.parent.mkdir(parents=True, exist_ok=True)
        _get(store, name, entry["sha256"], target)
    for place in sorted(places):
        sync_folder(place)
    for path in _BESIDE:
        digest = manifest["beside"].get(path)
        if digest is not None:
            data = store.get(_key(name, digest))
            _merge(adopt(data) if path == RUN else data, output / path)
    replace_file(part / RECORD, [json.dumps(manifest["record"]).encode()])
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    sync_folder(folder.parent)


def _get(store: ObjectStore, name: str, digest: str, target: Path) -> None:
    store.get_file(_key(name, digest), target)
    if sha256_file(target) != digest:
        raise StorageError(Code.STORE_CORRUPT, f"{_key(name, digest)} is not what its name says", "take another")


def _merge(data: bytes, path: Path) -> None:
    """Another machine's file beside ours: of a journal all lines count, of anything else what stands here."""
    if not path.exists():
        replace_file(path, [data])
    elif path.name == JOURNAL:
        replace_file(path, [path.read_bytes(), b"\n", data])


def _inside(path: str) -> PurePosixPath:
    found = PurePosixPath(path)
    if found.is_absolute() or ".." in found.parts or not found.parts:
        raise ValueError(f"{path!r} leaves the checkpoint's folder")
    return found


def _complete(store: ObjectStore) -> list[str]:
    found = [info.key.split("/") for info in store.list(f"{_PREFIX}/")]
    return [parts[1] for parts in found if len(parts) == 3 and parts[2] == _MANIFEST]


def _forget_old(store: ObjectStore) -> None:
    """Drop what is older than the newest two, the manifest first."""
    complete = sorted(_complete(store))
    if len(complete) <= _KEEP:
        return
    for name in complete[:-_KEEP]:
        store.delete(_key(name, _MANIFEST))
    for info in list(store.list(f"{_PREFIX}/")):
        if info.key.split("/")[1] < complete[-_KEEP]:
            store.delete(info.key)


def _key(name: str, last: str) -> str:
    return f"{_PREFIX}/{name}/{last}"
