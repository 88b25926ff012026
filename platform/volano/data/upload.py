"""Sending finished bundles from a robot to the object store: blobs by content address, the manifest last.

An upload exists once its manifest's key does, so a robot killed anywhere continues by sending again: what is there
already is recognised by its name. The marker beside a bundle only spares the robot the question. Neither Parquet nor
video is imported.
"""

import logging
import random as random_module
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from volano.data.bundle import MANIFEST_FILE, UPLOADED_FILE, read_manifest
from volano.errors import Code, DataError, StorageError
from volano.storage.content import canonical_json, sha256_file
from volano.storage.files import replace_file
from volano.storage.store import ObjectStore

_LOG = logging.getLogger(__name__)
_RETRIES = 5
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 20.0
_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What the store said; it is durable there."""

    status: Literal["stored", "already"]
    """`already`: this very upload was there before."""
    key: str
    content_id: str


def upload(
    store: ObjectStore,
    bundle: Path,
    *,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = random_module.random,
) -> Receipt:
    """Send one finished bundle. Safe to repeat after any failure.

    A store that is unavailable is asked again a few times, with growing pauses of random length. Raises DataError:
    E-DATA-014 for a torn bundle, E-DATA-006/008 when a file is damaged or gone, E-DATA-018 when the robot already
    sent something else as this attempt; StorageError when the store stays unavailable or refuses.
    """
    manifest = read_manifest(bundle)
    key = f"uploads/{manifest.robot}/{manifest.attempt}.json"
    for name, entry in sorted(manifest.files.items()):
        path = bundle / name
        if not path.is_file():
            raise DataError(Code.DATA_MISSING_FILE, f"{path} is gone", "the episode is lost; remove its folder")
        if sha256_file(path) != entry.sha256:
            raise DataError(Code.DATA_HASH, f"{path} is damaged", "the episode is lost; check the robot's disk")
        _patiently(partial(store.put_new_file, f"blobs/{entry.sha256}", path), sleep, random)
    stored = _patiently(partial(store.put_new, key, manifest.to_bytes()), sleep, random)
    if not stored and _patiently(partial(store.get, key), sleep, random) != manifest.to_bytes():
        raise DataError(
            Code.DATA_ATTEMPT, f"{key} holds another episode than {bundle}", "give every attempt of a robot a new name"
        )
    receipt = Receipt(status="stored" if stored else "already", key=key, content_id=manifest.content_id)
    replace_file(bundle / UPLOADED_FILE, [canonical_json(asdict(receipt))])
    return receipt


def pending(folder: Path) -> list[Path]:
    """Finished bundles under `folder` that were not uploaded yet, by name. Torn ones are never among them."""
    if not folder.is_dir():
        return []
    return sorted(
        bundle
        for bundle in folder.iterdir()
        if (bundle / MANIFEST_FILE).is_file() and not (bundle / UPLOADED_FILE).exists()
    )


def _patiently(call: Callable[[], _Result], sleep: Callable[[float], None], random: Callable[[], float]) -> _Result:
    for number in range(_RETRIES):
        try:
            return call()
        except StorageError as error:
            if error.code is not Code.STORE_UNAVAILABLE:
                raise
            pause = min(_FIRST_PAUSE_S * 2**number, _LONGEST_PAUSE_S) * (0.5 + random() / 2)
            _LOG.warning("the store is unavailable, asking again in %.1f s: %s", pause, error.cause)
            sleep(pause)
    return call()
