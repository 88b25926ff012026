"""The catalogue: every judged upload as a row, so that a million episodes are opened without reading a million objects.

A projection of verdicts, readmissions and manifests, and never the truth: a row is written after the objects it tells
of, which are final, and whatever has no row yet is read from them. Of several writers one writes a row.
"""

import logging
from collections.abc import Collection, Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from volano.data.catalogue_rows import EPISODES, VERDICT, Judged, manifests, table, verdicts
from volano.data.episode import Manifest
from volano.data.judge import judged_manifest
from volano.data.pages import append, end, pages, read
from volano.data.readmission import READMISSIONS, readmission_key, readmissions
from volano.data.verdict import UPLOADS, VERDICTS, Verdict, verdict_key
from volano.errors import Code, DataError, StorageError
from volano.storage.keys import is_key
from volano.storage.store import ObjectStore

_LOG = logging.getLogger(__name__)
_ROWS = 1 << 14
"""Most rows of a page when it is appended."""
_READERS = 16
_NAMES = ("upload", "readmitted")
BELIEVED = (pc.field("verdict") == "accepted") | pc.field("readmitted")
"""Holds for the rows of what may be trained on."""


class Cataloguer:
    """Adds rows for what had none when it was made: each once, whoever else adds some, at a cost that does not depend
    on how many there are."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._since = end(pages(store, EPISODES))
        """Rows of others stand behind this page, if anywhere."""

    def add(self, keys: Sequence[str]) -> int:
        """Add rows of verdicts and readmissions, by their keys; returns how many. One whose objects contradict each
        other gets none, and a warning. Raises StorageError when the store fails, DataError(E-DATA-105) when a page is
        damaged; what was added by then stays."""
        added, keys = 0, list(dict.fromkeys(keys))
        with ThreadPoolExecutor(_READERS) as readers:
            for start in range(0, len(keys), _ROWS):
                found = readers.map(partial(_sound, self._store), keys[start : start + _ROWS])
                added += self._append([one for one in found if one is not None])
        return added

    def _append(self, rows: list[Judged]) -> int:
        while rows:
            found = pages(self._store, EPISODES)
            since = read(self._store, EPISODES, found, columns=_NAMES, since=self._since)
            others = {key for some in since for key in _keys(some)}
            rows = [one for one in rows if _key(one) not in others]
            if rows and append(self._store, EPISODES, found, table(rows)):
                self._since = end(found) + 1
                return len(rows)
        return 0


def extend(store: ObjectStore) -> int:
    """Add a row for everything that has none; returns how many. Lists every verdict. Raises like `Cataloguer.add`."""
    cataloguer = Cataloguer(store)
    found = pages(store, EPISODES)
    known = {key for rows in read(store, EPISODES, found, columns=_NAMES) for key in _keys(rows)}
    return cataloguer.add(_missing(store, known))


def believed(store: ObjectStore) -> Iterator[Manifest]:
    """Manifests of what may be trained on, in no order. Raises StorageError(E-STORE-007) for one without a row that no
    longer names the content that was judged."""
    known: set[str] = set()
    for rows in read(store, EPISODES, pages(store, EPISODES)):
        known.update(_keys(rows))
        yield from manifests(rows.filter(BELIEVED))
    for key in _missing(store, known):
        judged = _judged(store, key)
        if judged.manifest is not None:
            yield judged.manifest


def believed_among(store: ObjectStore, uploads: Collection[str]) -> list[Manifest]:
    """Manifests of those of the uploads that may be trained on, in no order: what has no row is asked for one by one.
    Raises like `believed`."""
    where = BELIEVED & pc.field("upload").isin(pa.array(sorted(uploads), pa.string()))
    rows = list(read(store, EPISODES, pages(store, EPISODES), where=where))
    found = [manifest for some in rows for manifest in manifests(some)]
    left = {*uploads} - {upload for some in rows for upload in some["upload"].to_pylist()}
    let_in = readmissions(store) if left else {}
    for upload in sorted(filter(is_key, left)):
        key = readmission_key(upload) if upload in let_in else verdict_key(upload)
        if store.exists(key) and (manifest := _judged(store, key).manifest) is not None:
            found.append(manifest)
    return found


def judged(store: ObjectStore, prefix: str = VERDICTS) -> dict[str, Verdict]:
    """Every verdict whose key begins so, by its key, in order. Raises DataError(E-DATA-016) when one is gone that the
    catalogue knows."""
    found = read(store, EPISODES, pages(store, EPISODES), columns=VERDICT)
    said = (verdict for rows in found for verdict in verdicts(rows))
    known = {key: verdict for verdict in said if (key := verdict_key(verdict.upload)).startswith(prefix)}
    listed = [info.key for info in store.list(prefix)]
    if gone := known.keys() - listed:
        cause = f"{min(gone)} was in the catalogue and is gone"
        raise DataError(Code.DATA_CONSERVATION, cause, "restore the store's objects; nothing may delete them")
    return {key: known.get(key) or Verdict.from_bytes(store.get(key)) for key in listed}


def _missing(store: ObjectStore, known: Container[str]) -> list[str]:
    """Keys of readmissions that took effect and of verdicts which have no row. In this order: see `conservation`."""
    let_in = [readmission_key(upload) for upload in readmissions(store)]
    verdicts = (info.key for info in store.list(VERDICTS))
    return [key for keys in (let_in, verdicts) for key in keys if key not in known]


def _judged(store: ObjectStore, key: str) -> Judged:
    """What a verdict says, or the readmission of a verdict."""
    readmitted = key.startswith(READMISSIONS)
    source = VERDICTS + key.removeprefix(READMISSIONS) if readmitted else key
    verdict = Verdict.from_bytes(store.get(source))
    believes = readmitted or verdict.verdict == "accepted"
    manifest = judged_manifest(store, verdict.upload, verdict.content_id) if believes else None
    return Judged(verdict=verdict, manifest=manifest, readmitted=readmitted)


def _sound(store: ObjectStore, key: str) -> Judged | None:
    try:
        found = _judged(store, key)
    except (DataError, StorageError) as error:
        if isinstance(error, StorageError) and error.code not in {Code.STORE_CORRUPT, Code.STORE_MISSING}:
            raise
        _LOG.warning("%s gets no row: %s", key, error.cause)
        return None
    if _key(found) != key:
        _LOG.warning("%s gets no row: it is of %s", key, found.verdict.upload)
        return None
    return found


def _key(one: Judged) -> str:
    return (readmission_key if one.readmitted else verdict_key)(one.verdict.upload)


def _keys(rows: pa.Table) -> Iterator[str]:
    """Keys of the objects that rows tell of."""
    for upload, readmitted in zip(rows["upload"].to_pylist(), rows["readmitted"].to_pylist(), strict=True):
        yield (READMISSIONS if readmitted else VERDICTS) + upload[len(UPLOADS) :]
