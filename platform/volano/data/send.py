"""Sending finished bundles from a robot through the platform, with nothing but the robot's own key.

The robot asks the platform what it lacks of a manifest, puts each piece where it is told, and asks again, until the
answer is a receipt. Nothing is remembered in between: killed anywhere, it goes on by asking. A bundle is marked as
uploaded once a receipt of a trusted key was verified for it, and freed for nothing less. Needs neither boto3, NumPy,
Parquet nor video.
"""

import random as random_module
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from volano.data.bundle import MANIFEST_FILE, UPLOADED_FILE, read_manifest
from volano.data.door import Errand, Platform
from volano.data.episode import Manifest
from volano.data.patience import Patience
from volano.data.pieces import is_large, read_piece, verified
from volano.data.receipt import SignedReceipt, verify_receipt
from volano.errors import Code, DataError, StorageError, WireError
from volano.storage.content import canonical_json
from volano.storage.files import replace_file, sync_folder

_ROUNDS = 5
"""Answers in a row after which no piece was taken for the first time."""


def send(
    platform: Platform,
    bundle: Path,
    trusted: Sequence[Ed25519PublicKey],
    *,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = random_module.random,
) -> SignedReceipt:
    """Send one finished bundle and return the platform's verified receipt. Safe to repeat after any failure.

    Raises DataError: E-DATA-006/008/014 for a bundle that is damaged or torn, E-DATA-095 for a receipt that is not
    believed, and what the platform refuses with; StorageError(E-STORE-004) when platform or store stay unavailable.
    """
    manifest = read_manifest(bundle)
    question = question_of(bundle, manifest)
    patience = Patience(sleep=sleep, random=random)
    delivered: set[tuple[str, int]] = set()
    idle = 0
    while idle < _ROUNDS:
        answer = patience(partial(_ask, platform, question))
        if isinstance(answer, bytes):
            receipt = verify_receipt(answer, manifest, trusted)
            replace_file(bundle / UPLOADED_FILE, [answer])
            return receipt
        taken = set(_deliver(platform, bundle, manifest, answer, patience))
        idle = 0 if taken - delivered else idle + 1
        delivered |= taken
        if idle:
            sleep(patience.pause(idle))
    raise StorageError(
        Code.STORE_UNAVAILABLE,
        f"the store takes no piece of {bundle} where the platform says to put it",
        "look at the clocks of robot and store, and at the platform's log; then repeat",
    )


def question_of(bundle: Path, manifest: Manifest) -> bytes:
    """What the platform is asked, for a bundle whose files were found to be what its manifest says; else raises
    DataError(E-DATA-006/008)."""
    return canonical_json({"manifest": manifest.to_json(), "parts": verified(bundle, manifest)})


def free(bundle: Path, trusted: Sequence[Ed25519PublicKey]) -> None:
    """Remove a bundle whose receipt stands beside it; killed in between, the next call ends it. Raises
    DataError(E-DATA-095), and removes nothing, without a receipt of a trusted key for this very manifest."""
    marker = bundle / UPLOADED_FILE
    if (bundle / MANIFEST_FILE).exists():
        if not marker.is_file():
            raise DataError(Code.DATA_RECEIPT, f"{bundle} has no receipt", "upload it first")
        verify_receipt(marker.read_bytes(), read_manifest(bundle), trusted)
        (bundle / MANIFEST_FILE).unlink()  # first: a folder with a manifest is whole
        sync_folder(bundle)
    if marker.is_file():
        for path in bundle.iterdir():
            if path != marker:
                path.unlink()
        marker.unlink()
        bundle.rmdir()


def sent(folder: Path) -> list[Path]:
    """Bundles under `folder` that are marked as uploaded, by name."""
    return sorted(bundle for bundle in folder.iterdir() if (bundle / UPLOADED_FILE).is_file())


def _ask(platform: Platform, question: bytes) -> bytes | list[Errand]:
    """The platform's answer; parts that it threw away are asked for again, as what does not answer now."""
    try:
        return platform.ask(question)
    except StorageError as error:
        if error.code is Code.STORE_PARTS:
            raise StorageError(Code.STORE_UNAVAILABLE, error.cause, error.fix) from error
        raise


def _deliver(
    platform: Platform, bundle: Path, manifest: Manifest, errands: Sequence[Errand], patience: Patience
) -> Iterator[tuple[str, int]]:
    """Put one piece after another, until an address takes nothing: then it is too old, and so are those after it.
    Yields which were taken."""
    for errand in errands:
        entry = manifest.files.get(errand.name)
        inside = entry is not None and 0 <= errand.start <= errand.start + errand.size <= entry.size
        if not inside or is_large(errand.size):
            raise WireError(
                Code.WIRE_FRAME, f"the platform asked for what {bundle} does not hold", "ask the right platform"
            )
        data = read_piece(bundle, errand.name, errand.start, errand.size)
        if not patience(partial(platform.put, errand, data)):
            return
        yield errand.name, errand.start
