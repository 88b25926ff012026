"""The platform's side of an upload by a robot that has no credentials for the store.

One question, asked again and again: here is my manifest, what is missing? Nothing: then the upload is taken, and the
answer is a receipt. Who asks is known by its key; only its own name, and only what its manifest lists, is answered.
Nothing but the store and the robot's daily count is remembered, so platform and robot may die at any moment.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from volano.data.episode import Manifest
from volano.data.pieces import Hashes, Piece, commit, is_large, missing, num_parts, require_same, settle
from volano.data.receipt import sign_receipt
from volano.data.text import strict_json
from volano.errors import Code, DataError, StorageError, WireError
from volano.ledger.ledger import Ledger
from volano.storage.content import sha256_bytes
from volano.storage.parts import PartStore

_MAX_FILES = 32
_HEX = set("0123456789abcdef")
_PAGE = 64
"""Most pieces that one answer names: addresses live for minutes, and a slow robot asks again."""


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What one robot may send."""

    episode_bytes: int = 4 << 30
    """Of one manifest's files together: what ingest would refuse anyway."""
    day_bytes: int = 256 << 30
    """In any 24 hours, whether it arrives or not."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A checked question of a robot."""

    manifest: Manifest
    hashes: Hashes
    """Of every large file, one for each part."""

    @property
    def size(self) -> int:
        """Bytes of everything that would be stored."""
        return sum(entry.size for entry in self.manifest.files.values()) + len(self.manifest.to_bytes())


def read_offer(data: bytes) -> Offer:
    """A robot's question from JSON `{"manifest": …, "parts": {file: [SHA-256, …]}}`.

    Raises WireError(E-WIRE-001) for anything else, DataError(E-DATA-014) for a manifest that is none.
    """
    try:
        found = strict_json(data)
        if not isinstance(found, dict) or set(found) != {"manifest", "parts"}:
            raise ValueError("it is not a map of manifest and parts")
        manifest = Manifest.from_json(found["manifest"])
        return Offer(manifest=manifest, hashes=_checked_hashes(manifest, found["parts"]))
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        cause = f"the question is not well-formed: {error}"
        raise WireError(Code.WIRE_FRAME, cause, "ask as `volano data upload` does") from error


class Intake:
    """Takes uploads into a store; threads may share it."""

    def __init__(self, store: PartStore, ledger: Ledger, key: Ed25519PrivateKey, allowance: Allowance) -> None:
        """`key` signs receipts."""
        self._store = store
        self._ledger = ledger
        self._key = key
        self._allowance = allowance

    def take(self, robot: str, offer: Offer, now: float) -> bytes | list[Piece]:
        """The receipt's envelope, once everything is in the store; until then some of the pieces that are missing.

        `robot` is who asks, by its key; `now` is Unix time in seconds. Raises DataError: E-DATA-015 for another robot's
        name, E-DATA-017 and E-DATA-096 for more than is allowed, E-DATA-018 for an attempt's name that was used,
        E-DATA-006 for a manifest that describes no files; StorageError(E-STORE-008) when a large file's bytes are not
        the manifest's and have to be sent again.
        """
        manifest = offer.manifest
        self._require_own(robot, manifest)
        if not self._is_committed(manifest):
            self._require_allowed(robot, offer, now)
        pieces = missing(self._store, manifest, offer.hashes)
        if pieces:
            return pieces[:_PAGE]
        settle(self._store, manifest, offer.hashes)
        commit(self._store, manifest)
        return sign_receipt(manifest, self._key, now)

    def _require_own(self, robot: str, manifest: Manifest) -> None:
        if manifest.robot != robot:
            raise DataError(
                Code.DATA_ROBOT,
                f"robot {robot!r} sent a manifest of {manifest.robot!r}",
                "send a robot's episodes with that robot's own key",
            )

    def _is_committed(self, manifest: Manifest) -> bool:
        try:
            there = self._store.get(manifest.upload_key)
        except StorageError as error:
            if error.code is Code.STORE_MISSING:
                return False
            raise
        require_same(manifest.upload_key, there, manifest)
        return True

    def _require_allowed(self, robot: str, offer: Offer, now: float) -> None:
        limits = self._allowance
        if offer.size > limits.episode_bytes or len(offer.manifest.files) > _MAX_FILES:
            raise DataError(
                Code.DATA_SIZE,
                f"the episode has {len(offer.manifest.files)} files and {offer.size} bytes; "
                f"{_MAX_FILES} and {limits.episode_bytes} are allowed",
                "record shorter attempts",
            )
        digest = sha256_bytes(offer.manifest.to_bytes())
        if not self._ledger.grant_upload(robot, digest, offer.size, limits.day_bytes, now):
            raise DataError(
                Code.DATA_QUOTA,
                f"robot {robot!r} may send {limits.day_bytes} bytes in 24 hours, and this would be more",
                "send it later, or raise the door's --day-bytes",
            )


def _checked_hashes(manifest: Manifest, parts: object) -> Hashes:
    large = {name: entry.size for name, entry in manifest.files.items() if is_large(entry.size)}
    if not isinstance(parts, Mapping) or set(parts) != set(large):
        raise ValueError(f"parts has to name the files of more than one part: {', '.join(sorted(large)) or 'none'}")
    for name, hashes in parts.items():
        if not isinstance(hashes, list) or len(hashes) != num_parts(large[name]):
            raise ValueError(f"{name} has {num_parts(large[name])} parts")
        if not all(isinstance(one, str) and len(one) == 64 and set(one) <= _HEX for one in hashes):
            raise ValueError(f"a part of {name} has no SHA-256")
    return {name: tuple(hashes) for name, hashes in parts.items()}
