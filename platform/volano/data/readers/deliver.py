"""Where converted episodes go: a folder of bundles, or straight into a store, one bundle on the disk at a time."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from volano.data.bundle import MANIFEST_FILE
from volano.data.readers.convert import Conversion, Converted, Request
from volano.data.upload import upload
from volano.storage.parts import PartStore


def planned(request: Request) -> Conversion:
    """Say of every episode what would be done; nothing is written."""
    return Conversion(replace(request, output=None), lambda _attempt: False)


def into_folder(request: Request, folder: Path) -> Conversion:
    """Write bundles into `folder`; those that are complete there stay as they are."""
    return Conversion(replace(request, output=folder), lambda attempt: (folder / attempt / MANIFEST_FILE).is_file())


def into_store(request: Request, store: PartStore) -> Iterator[Converted]:
    """Write, send and remove one bundle after another; attempts that the store has are left out. Raises what `upload`
    does: what was sent by then stays sent."""
    with tempfile.TemporaryDirectory(prefix="volano-convert-") as scratch:
        folder = Path(scratch)
        to_send = replace(request, output=folder)
        for one in Conversion(to_send, lambda attempt: store.exists(f"uploads/{request.robot}/{attempt}.json")):
            if one.status == "converted":
                upload(store, folder / one.attempt)
            shutil.rmtree(folder / one.attempt, ignore_errors=True)
            yield one
