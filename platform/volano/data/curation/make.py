"""Makes the features of accepted episodes and stores them under `features/<definition>/<content>.json`, each once.

Whoever is killed here begins again with what is missing. An episode's files are decoded in the sandbox's child only.
"""

import signal
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from volano.data.curation.features import DEFINITION, Features, imitable
from volano.data.episode import Manifest
from volano.data.judge import MAX_HELD_BYTES, fetch_accepted, judged_manifest
from volano.data.sandbox import KILLED_FROM_OUTSIDE, Bundle, Limits, run_child
from volano.data.text import strict_json
from volano.data.verdict import owner
from volano.embodiment.contract import Embodiment
from volano.errors import Code, ContractError, DataError, StorageError, SystemMissingError
from volano.storage.store import ObjectStore

FEATURES = f"features/{DEFINITION}/"
LIMITS = Limits(answer_bytes=16 << 20)
_CHILD = "volano.data.curation.extract_child"


def features_key(content_id: str) -> str:
    """Key of an episode's features."""
    return f"{FEATURES}{content_id}.json"


def missing(store: ObjectStore, manifests: Iterable[Manifest]) -> list[str]:
    """Contents of which something may be imitated and that have no features yet, in the order given."""
    made = {info.key for info in store.list(FEATURES)}
    wanted = (one for one in manifests if features_key(one.content_id) not in made)
    return [one.content_id for one in wanted if imitable(one).any()]


def read_features(store: ObjectStore, manifest: Manifest, robot: Embodiment) -> Features:
    """The stored features of an episode; raises DataError(E-DATA-100) when they are not there or not sound."""
    try:
        data = strict_json(store.get(features_key(manifest.content_id)))
    except StorageError as error:
        if error.code is not Code.STORE_MISSING:
            raise
        cause = f"episode {manifest.content_id[:12]} has no features"
        raise DataError(Code.DATA_FEATURES, cause, "make them: python -m pipelines.curate --store STORE") from error
    except (ValueError, RecursionError):
        data = None
    return Features.from_json(data, manifest, robot)


def make(store: ObjectStore, contents: Sequence[str], known: Mapping[str, Embodiment]) -> list[DataError]:
    """Make and store the features of accepted contents; what could not be made of single episodes, E-DATA-100 each.
    `known` maps fingerprints to contracts. Raises StorageError when the store fails or an episode's bytes are missing
    or other, ContractError for an unknown contract, SystemMissingError(E-SYSTEM-002) when no sandbox starts."""
    failed: list[DataError] = []
    for batch in _batches([judged_manifest(store, owner(store, content), content) for content in contents]):
        with tempfile.TemporaryDirectory(prefix="volano-features-") as scratch:
            bundles = [_fetched(store, one, contract(one, known), Path(scratch) / one.content_id) for one in batch]
            for found in extract_all(bundles):
                if isinstance(found, DataError):
                    failed.append(found)
                else:
                    store.put_new(features_key(found.content_id), found.to_bytes())
    return failed


def extract_all(bundles: Sequence[Bundle]) -> list[Features | DataError]:
    """The features of downloaded bundles, in order, or why one has none: E-DATA-100. Raises
    SystemMissingError(E-SYSTEM-002) when no child can start, or somebody killed it."""
    status, lines = run_child(_CHILD, bundles, LIMITS)
    if status == 0 and len(lines) == len(bundles):
        return [_parsed(line, bundle) for line, bundle in zip(lines, bundles, strict=True)]
    if status in KILLED_FROM_OUTSIDE:
        cause = f"the child that makes features was killed: {signal.Signals(-status).name}"
        raise SystemMissingError(Code.SYSTEM_SANDBOX, cause, "run it again; look at the memory of the machine")
    if len(bundles) > 1:
        return [found for bundle in bundles for found in extract_all([bundle])]
    return [_failed(bundles[0].manifest, f"the child ended with status {status}")]


def contract(manifest: Manifest, known: Mapping[str, Embodiment]) -> Embodiment:
    """The contract of an episode; raises ContractError(E-CONTRACT-002) when it is not known."""
    if manifest.fingerprint not in known:
        cause = f"no known embodiment has fingerprint {manifest.fingerprint[:12]}"
        raise ContractError(Code.CONTRACT_UNKNOWN, cause, "pass its contract: --contract FILE")
    return known[manifest.fingerprint]


def _batches(manifests: Sequence[Manifest]) -> Iterator[list[Manifest]]:
    """In order, each with at most MAX_HELD_BYTES of files unless one alone has more."""
    batch: list[Manifest] = []
    held = 0
    for one in manifests:
        size = sum(entry.size for entry in one.files.values())
        if batch and held + size > MAX_HELD_BYTES:
            yield batch
            batch, held = [], 0
        batch.append(one)
        held += size
    if batch:
        yield batch


def _fetched(store: ObjectStore, manifest: Manifest, robot: Embodiment, folder: Path) -> Bundle:
    fetch_accepted(store, manifest, folder)
    return Bundle(folder=folder, manifest=manifest, embodiment=robot)


def _parsed(line: bytes, bundle: Bundle) -> Features | DataError:
    try:
        data = strict_json(line)
    except (ValueError, RecursionError):
        data = None
    if isinstance(data, dict) and set(data) == {"failed"}:
        return _failed(bundle.manifest, str(data["failed"])[:100])
    try:
        return Features.from_json(data, bundle.manifest, bundle.embodiment)
    except DataError as error:
        return _failed(bundle.manifest, error.cause)


def _failed(manifest: Manifest, why: str) -> DataError:
    cause = f"no features of episode {manifest.content_id[:12]} of {manifest.robot}/{manifest.attempt}: {why}"
    upload = f"{manifest.robot}/{manifest.attempt}"
    return DataError(Code.DATA_FEATURES, cause, f"take it back: volano data recall --upload {upload} --reason WHY")
