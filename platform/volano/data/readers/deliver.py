"""Where converted episodes go: a folder of bundles, or straight into a store, few bundles on the disk at a time."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from volano.data.bundle import MANIFEST_FILE
from volano.data.readers.child import Request
from volano.data.readers.convert import Conversion, Converted
from volano.data.upload import upload
from volano.storage.files import cannot_write
from volano.storage.parts import PartStore
from volano.storage.store import ObjectStore


def planned(request: Request, folder: Path | None = None, store: ObjectStore | None = None) -> Conversion:
    """Say of every episode what would be done; nothing is written. What is in the folder, or in the store, is there
    already."""
    there = _in_folder(folder) if folder else _in_store(store, request.robot) if store else lambda _attempt: False
    return Conversion(replace(request, output=None), there)


def into_folder(request: Request, folder: Path) -> Conversion:
    """Write bundles into `folder`; those that are complete there stay as they are. Raises StorageError when nothing can
    be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise cannot_write(folder, error) from error
    return Conversion(replace(request, output=folder), _in_folder(folder))


def _in_folder(folder: Path) -> Callable[[str], bool]:
    return lambda attempt: (folder / attempt / MANIFEST_FILE).is_file()


def _in_store(store: ObjectStore, robot: str) -> Callable[[str], bool]:
    return lambda attempt: store.exists(f"uploads/{robot}/{attempt}.json")


def into_store(request: Request, store: PartStore) -> Iterator[Converted]:
    """Write, send and remove one bundle after another, while every worker writes the next; attempts that the store has
    are left out. Raises what `upload` does: what was sent by then stays sent."""
    with tempfile.TemporaryDirectory(prefix="volano-convert-") as scratch:
        folder = Path(scratch)
        to_send = replace(request, output=folder, durable=False)
        for one in Conversion(to_send, _in_store(store, request.robot)):
            if one.status == "converted":
                upload(store, folder / one.attempt)
            shutil.rmtree(folder / one.attempt, ignore_errors=True)
            yield one
