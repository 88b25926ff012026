"""The ingest application: every upload without a verdict gets one, on Ray Data.

Uploads are judged in batches by a pool of actors, which commit each verdict themselves by a conditional put. Nothing
is kept in memory that a kill could lose: running again continues, and running again when all is done changes nothing.
Rows of the catalogue are written behind the verdicts; those that a kill left out are added at the end of the next run.
Run it as `python -m pipelines.ingest --store URL`.
"""

import argparse
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import ray.data
from numpy.typing import NDArray

from volano.cluster import connect
from volano.commands.terminal import STORE, require_store
from volano.data.catalogue import Cataloguer, extend
from volano.data.conservation import Counts, count
from volano.data.contracts import known_contracts
from volano.data.judge import judge
from volano.data.sandbox import Limits, examine_bundles
from volano.data.verdict import pending, verdict_key
from volano.embodiment.contract import Embodiment
from volano.ending import coded_ending
from volano.errors import Code, DataError, StorageError, SystemMissingError, VolanoError
from volano.storage.open import open_store

_LOG = logging.getLogger(__name__)
_BATCH = 64
"""Uploads that share a download folder and a sandbox child."""
_TELL_S = 30.0
"""So long without a first verdict, it says that it waits."""
_COLUMNS = ("upload", "verdict", "code", "error", "cause", "fix")
_ERRORS: dict[str, type[VolanoError]] = {kind.__name__: kind for kind in (StorageError, SystemMissingError)}
"""What may keep a batch from being judged, by name."""
SHIPPED_CONTRACTS = known_contracts()


class Judge:
    """One actor of the pool: opens the store for itself, judges batches of upload keys."""

    def __init__(self, store_url: str, known: Mapping[str, Embodiment]) -> None:
        self._store = open_store(store_url)
        self._known = dict(known)
        self._check = partial(examine_bundles, limits=Limits())

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Column `upload` in; `upload`, `verdict` and `code` out for those that were judged. Ray Data makes text of
        an exception, so a store that fails, or a sandbox, is one row: its `error`, `code`, `cause` and `fix`."""
        try:
            verdicts = judge(self._store, [str(key) for key in batch["upload"]], self._known, self._check)
        except (StorageError, SystemMissingError) as error:
            said = {"code": str(error.code), "cause": error.cause, "fix": error.fix}
            return _columns([{"error": type(error).__name__, **said}])
        return _columns([{"upload": one.upload, "verdict": one.verdict, "code": str(one.code)} for one in verdicts])


def ingest(store_url: str, known: Mapping[str, Embodiment] = SHIPPED_CONTRACTS, *, workers: int = 2) -> Counts:
    """Judge every upload without a verdict; `known` maps fingerprints to embodiments. Joins the cluster when there is
    something to judge. Returns the store's counts afterwards; raises StorageError when the store fails and
    SystemMissingError(E-SYSTEM-002) when no sandbox starts: what was judged by then stays judged; and
    DataError: E-DATA-016 when an upload was lost or counted twice, E-DATA-105 when the catalogue is damaged."""
    store = open_store(store_url)
    cataloguer = Cataloguer(store)
    uploads = pending(store)
    if uploads:
        _LOG.info("judging %d uploads", len(uploads))
        connect()
        judged = _judged(store.url, known, uploads, workers)  # its own URL: workers may have another current folder
        while some := [verdict_key(upload) for upload in islice(judged, _BATCH)]:
            _catalogue(cataloguer, some)
    extend(store)
    counts = count(store)
    codes = {**counts.quarantined, **counts.rejected}
    _LOG.info(
        "%d uploaded = %d accepted + %d quarantined + %d rejected + %d in flight%s",
        *(counts.uploaded, counts.accepted, sum(counts.quarantined.values()), sum(counts.rejected.values())),
        *(counts.in_flight, "".join(f", {code}: {number}" for code, number in sorted(codes.items()))),
    )
    return counts


def _catalogue(cataloguer: Cataloguer, keys: list[str]) -> None:
    """Rows of what was just judged; a damaged catalogue keeps no upload from being judged."""
    try:
        cataloguer.add(keys)
    except DataError as error:
        _LOG.warning("%s", error.cause)


def _judged(store_url: str, known: Mapping[str, Embodiment], uploads: list[str], workers: int) -> Iterator[str]:
    """Judge, and tell of every upload that has its verdict."""
    num_blocks = -(-len(uploads) // _BATCH)
    judged = ray.data.from_items([{"upload": key} for key in uploads], override_num_blocks=num_blocks).map_batches(
        Judge,
        fn_constructor_args=(store_url, dict(known)),
        batch_size=_BATCH,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=min(workers, num_blocks)),
        num_cpus=1,
    )
    with _told_while_waiting() as begun:
        for done, row in enumerate(judged.iter_rows(), start=1):
            begun.set()
            require_judged(row)
            _LOG.info("%d/%d %s %s %s", done, len(uploads), row["upload"], row["verdict"], row["code"])
            yield str(row["upload"])


@contextmanager
def _told_while_waiting() -> Iterator[threading.Event]:
    """Say now and then that no verdict came yet, until the event is set or the block is left."""
    begun = threading.Event()

    def tell() -> None:
        while not begun.wait(_TELL_S):
            _LOG.info("no verdict yet: the judges start, or wait for a free core of the cluster")

    threading.Thread(target=tell, name="waiting", daemon=True).start()
    try:
        yield begun
    finally:
        begun.set()


def require_judged(row: Mapping[str, str]) -> None:
    """Raise what an actor said instead of a verdict."""
    if row["error"]:
        raise _ERRORS[row["error"]](Code(row["code"]), row["cause"], row["fix"])


def _columns(rows: list[dict[str, str]]) -> dict[str, NDArray[Any]]:
    return {name: np.array([row.get(name, "") for row in rows], dtype=np.str_) for name in _COLUMNS}


def main() -> None:
    """Entry of `python -m pipelines.ingest`."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m pipelines.ingest", description="Judge every new upload of a store."
    )
    place = os.environ.get("VOLANO_STORE", STORE)
    parser.add_argument("--store", default=place, help="URL of the object store; %(default)s unless told otherwise")
    parser.add_argument(
        "--contract", action="append", type=Path, default=[], metavar="FILE", help="contract of a robot of your own"
    )
    parser.add_argument(
        "--workers",
        type=int,
        choices=range(1, 1025),
        metavar="N",
        default=2,
        help="most actors that judge at the same time",
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with coded_ending(_LOG):
        require_store(arguments.store)
        ingest(arguments.store, known_contracts(arguments.contract), workers=arguments.workers)


if __name__ == "__main__":
    main()
