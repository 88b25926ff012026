"""Sending finished bundles from a robot to the object store with credentials of its own: blobs by content address, the
manifest last.

An upload exists once its manifest's key does, so a robot killed anywhere continues by sending again: what is there
already is recognised by its name, of a large file each part. The marker beside a bundle only spares the robot the
question. Neither Parquet nor video is imported.
"""

import random as random_module
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from volano.data.bundle import MANIFEST_FILE, UPLOADED_FILE, read_manifest
from volano.data.patience import Patience
from volano.data.pieces import blob_key, commit, missing_parts, read_piece, start_of, verified
from volano.errors import Code, StorageError
from volano.storage.content import canonical_json
from volano.storage.files import replace_file
from volano.storage.parts import PartStore, put_slot

_ROUNDS = 5
"""How often a large file is begun, where somebody else finished it or threw its parts away meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What the store said; it is durable there."""

    status: Literal["stored", "already"]
    """`already`: this very upload was there before."""
    key: str
    content_id: str


def upload(
    store: PartStore,
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
    patience = Patience(sleep=sleep, random=random)
    hashes = verified(bundle, manifest)
    for name, entry in sorted(manifest.files.items()):
        if name in hashes:
            _send_parts(store, bundle, name, blob_key(entry.sha256), entry.size, hashes[name], patience)
        else:
            patience(partial(store.put_new_file, blob_key(entry.sha256), bundle / name))
    stored = patience(partial(commit, store, manifest))
    receipt = Receipt(status="stored" if stored else "already", key=manifest.upload_key, content_id=manifest.content_id)
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


def _send_parts(
    store: PartStore, bundle: Path, name: str, key: str, size: int, hashes: Sequence[str], patience: Patience
) -> None:
    """Send what is missing of a large file, and make the object of its parts."""
    for _ in range(_ROUNDS - 1):
        try:
            return _try_parts(store, bundle, name, key, size, hashes, patience)
        except StorageError as error:
            if error.code not in {Code.STORE_PARTS, Code.STORE_MISSING}:
                raise
    return _try_parts(store, bundle, name, key, size, hashes, patience)


def _try_parts(
    store: PartStore, bundle: Path, name: str, key: str, size: int, hashes: Sequence[str], patience: Patience
) -> None:
    if patience(partial(store.exists, key)):
        return
    slots = patience(partial(missing_parts, store, key, size, hashes))
    for slot in slots:
        data = read_piece(bundle, name, start_of(slot), slot.size)
        patience(partial(put_slot, store, slot, data))
    upload_id = slots[0].upload if slots else patience(partial(store.parts.open, key))
    patience(partial(store.parts.close, key, upload_id, hashes))
