"""Judges uploads: manifest, claims, download, sandboxed check, claim of the content, verdict. No Ray in here.

Every effect is a conditional put, so judging an upload twice, at once or after a kill, ends in the same verdict.
A quarantined upload never owns its content: a corrected copy can still be accepted.
"""

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from operator import eq
from pathlib import Path

from volano.data.episode import Manifest
from volano.data.finding import Finding
from volano.data.sandbox import Bundle, Sound
from volano.data.sketch_store import sketch_key
from volano.data.text import strict_json
from volano.data.validate import check_claims, check_files
from volano.data.verdict import Verdict, claim, owner, verdict_key
from volano.embodiment.contract import Embodiment
from volano.errors import Code, DataError, StorageError
from volano.storage.content import sha256_bytes, sha256_file
from volano.storage.files import cannot_write
from volano.storage.store import ObjectStore

_LOG = logging.getLogger(__name__)
Check = Callable[[Sequence[Bundle]], Sequence[Finding | Sound | None]]
"""One finding, or none and what is known of a sound episode, per bundle in the same order; a finding with E-SYSTEM-002
says that the bundle could not be judged."""
_MAX_MANIFEST_BYTES = 4 << 20
_SMALL_BYTES = 16 << 20
"""Files up to this size are brought through memory: what is thrown away again need not be made durable."""
MAX_HELD_BYTES = 4 << 30
"""Downloads beyond this are judged before more is fetched: many manifests may name one large file."""


def judge(store: ObjectStore, uploads: Sequence[str], known: Mapping[str, Embodiment], check: Check) -> list[Verdict]:
    """Judge a batch of uploads and commit their verdicts. `known` maps fingerprints to embodiments; `check` looks at
    the bytes: `sandbox.examine_bundles` with its limits. An upload that could not be judged has no verdict and stays
    in flight. Raises StorageError when the store fails; what was not yet judged then stays in flight, too."""
    decided: dict[str, Verdict] = {}
    with tempfile.TemporaryDirectory(prefix="volano-judge-") as scratch:
        bundles: dict[str, Bundle] = {}
        for number, upload in enumerate(dict.fromkeys(uploads)):
            outcome = _prepare(store, upload, known, Path(scratch) / str(number))
            if isinstance(outcome, Bundle):
                bundles[upload] = outcome
            else:
                decided[upload] = _commit(store, outcome)
            if sum(_size(bundle.manifest) for bundle in bundles.values()) > MAX_HELD_BYTES:
                decided |= _judge_fetched(store, bundles, check)
                bundles = {}
        decided |= _judge_fetched(store, bundles, check)
    return list(decided.values())


def _judge_fetched(store: ObjectStore, bundles: Mapping[str, Bundle], check: Check) -> dict[str, Verdict]:
    """Check downloaded bundles, let go of their files, commit their verdicts."""
    decided = {}
    answers = check(list(bundles.values()))
    for bundle in bundles.values():
        shutil.rmtree(bundle.folder)
    for (upload, bundle), found in zip(bundles.items(), answers, strict=True):
        finding = found if isinstance(found, Finding) else None
        if finding is not None and finding.code == Code.SYSTEM_SANDBOX:
            _LOG.warning("%s stays in flight: %s", upload, finding.evidence)
            continue
        if isinstance(found, Sound):
            store.put_new(sketch_key(bundle.manifest.content_id), found.record)
        decided[upload] = _commit(store, _decide(store, upload, bundle.manifest, finding))
    return decided


def _size(manifest: Manifest) -> int:
    return sum(entry.size for entry in manifest.files.values())


def read_manifest(store: ObjectStore, upload: str) -> Manifest:
    """The manifest under an upload's key; raises DataError(E-DATA-014) when it is not one."""
    size = _size_of(store, upload, lambda size: size is not None and size <= _MAX_MANIFEST_BYTES) or 0
    if size > _MAX_MANIFEST_BYTES:
        raise DataError(Code.DATA_MANIFEST, f"the manifest has {size} bytes", "record the episode again")
    try:
        return Manifest.from_json(strict_json(store.get(upload)))
    except (ValueError, RecursionError) as error:
        cause = (
            error.cause if isinstance(error, DataError) else f"the manifest is not sound JSON: {type(error).__name__}"
        )
        raise DataError(Code.DATA_MANIFEST, cause, "record the episode again") from error


def judged_manifest(store: ObjectStore, upload: str, content_id: str) -> Manifest:
    """The manifest of an upload that was accepted with this content; raises StorageError(E-STORE-007) when it names
    another one now."""
    manifest = read_manifest(store, upload)
    if manifest.content_id != content_id:
        raise StorageError(Code.STORE_CORRUPT, f"{upload} was changed after it was accepted", "restore the object")
    return manifest


def fetch_bundle(store: ObjectStore, manifest: Manifest, folder: Path) -> Finding | None:
    """Bring a bundle's files into a new folder, sizes compared before anything is downloaded. A missing or
    differing object is a finding; hashes are compared by `check_files`."""
    folder.mkdir(parents=True)
    for name, entry in sorted(manifest.files.items()):
        key = f"blobs/{entry.sha256}"
        size = _size_of(store, key, partial(eq, entry.size))
        if size is None:
            return Finding.of(Code.DATA_MISSING_FILE, f"{name} was not uploaded")
        if size != entry.size:
            return Finding.of(Code.DATA_HASH, f"{name} has {size} bytes in the store, not {entry.size}")
        if size <= _SMALL_BYTES:
            _write(folder / name, store.get(key))
        else:
            store.get_file(key, folder / name)
    return None


@contextmanager
def accepted_files(store: ObjectStore, manifest: Manifest) -> Iterator[Callable[[str], Path | bytes]]:
    """An accepted episode's files by name, each fetched and verified when it is asked for: small ones as bytes, others
    in a folder that goes in the end. Raises StorageError(E-STORE-007) for one that is missing or other than it was."""
    with ExitStack() as stack:

        def bring(name: str) -> Path | bytes:
            entry, path = manifest.files[name], None
            key = f"blobs/{entry.sha256}"
            try:
                if entry.size <= _SMALL_BYTES:
                    data = store.get(key)
                    if sha256_bytes(data) == entry.sha256:
                        return data
                else:
                    path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="volano-part-"))) / name
                    store.get_file(key, path)
                    if sha256_file(path) == entry.sha256:
                        return path
            except StorageError as error:
                if error.code is not Code.STORE_MISSING:
                    raise
            cause = f"accepted episode {manifest.content_id[:12]}: {name} is missing, or other than it was"
            raise StorageError(Code.STORE_CORRUPT, cause, "restore the object")

        yield bring


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise cannot_write(path, error) from error


def fetch_accepted(store: ObjectStore, manifest: Manifest, folder: Path) -> None:
    """Download an accepted episode's files into a new folder; raises StorageError(E-STORE-007) when they are missing or
    other than they were."""
    finding = fetch_bundle(store, manifest, folder) or check_files(folder, manifest)
    if finding is not None:
        cause = f"accepted episode {manifest.content_id[:12]}: {finding.evidence}"
        raise StorageError(Code.STORE_CORRUPT, cause, "restore the object")


def _size_of(store: ObjectStore, key: str, is_welcome: Callable[[int | None], bool]) -> int | None:
    """The size of an object, None when there is none. What a store says of it has no checksum and a verdict is final:
    what would be held against an upload is asked once more."""
    size = None
    for _ in range(2):
        size = store.size(key)
        if is_welcome(size):
            break
    return size


def _prepare(store: ObjectStore, upload: str, known: Mapping[str, Embodiment], folder: Path) -> Bundle | Verdict:
    """A bundle ready for the sandbox, or the verdict when the bytes need not be looked at."""
    try:
        manifest = read_manifest(store, upload)
    except DataError as error:
        finding = Finding.of(error.code, error.cause)
        return _verdict(upload, "", finding, rejected=True)
    finding_or_none = check_claims(manifest, upload, known)
    if finding_or_none is not None:
        return _verdict(upload, manifest.content_id, finding_or_none)
    if owner(store, manifest.content_id):
        return _decide(store, upload, manifest, None)
    finding_or_none = fetch_bundle(store, manifest, folder)
    if finding_or_none is not None:
        return _verdict(upload, manifest.content_id, finding_or_none)
    return Bundle(folder=folder, manifest=manifest, embodiment=known[manifest.fingerprint])


def _decide(store: ObjectStore, upload: str, manifest: Manifest, finding: Finding | None) -> Verdict:
    if finding is not None:
        return _verdict(upload, manifest.content_id, finding)
    owning = claim(store, manifest.content_id, upload)
    if owning != upload:
        duplicate = Finding.of(Code.DATA_DUPLICATE, f"the same content as {owning}")
        return _verdict(upload, manifest.content_id, duplicate, rejected=True)
    return Verdict(upload=upload, content_id=manifest.content_id, verdict="accepted", code="", evidence="")


def _verdict(upload: str, content_id: str, finding: Finding, *, rejected: bool = False) -> Verdict:
    return Verdict(
        upload=upload,
        content_id=content_id,
        verdict="rejected" if rejected else "quarantined",
        code=finding.code,
        evidence=finding.evidence,
    )


def _commit(store: ObjectStore, verdict: Verdict) -> Verdict:
    key = verdict_key(verdict.upload)
    return verdict if store.put_new(key, verdict.to_bytes()) else Verdict.from_bytes(store.get(key))
