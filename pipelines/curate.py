"""The first half of a curation, on Ray Data: every accepted episode gets its features, once.

Episodes are decoded in batches by a pool of actors, in the sandbox's child, and each one's features are stored by its
content: running again continues, and running again when all is done changes nothing. What is then decided is pure, and
stands in `volano.data.curation`. Run it as `python -m pipelines.curate --store URL`.
"""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import ray.data
from numpy.typing import NDArray

from volano.cluster import connect
from volano.data.contracts import known_contracts
from volano.data.curation.carry_out import to_curate
from volano.data.curation.make import make, missing
from volano.embodiment.contract import Embodiment
from volano.ending import coded_ending
from volano.errors import Code, ContractError, DataError, StorageError, SystemMissingError, VolanoError
from volano.storage.open import open_store

_LOG = logging.getLogger(__name__)
_BATCH = 32
"""Episodes that share a download folder and a sandbox child."""
_COLUMNS = ("episodes", "error", "code", "cause", "fix")
_ERRORS: dict[str, type[VolanoError]] = {
    kind.__name__: kind for kind in (StorageError, SystemMissingError, DataError, ContractError)
}
"""What may keep an episode from its features, by name."""
SHIPPED_CONTRACTS = known_contracts()


class Maker:
    """One actor of the pool: opens the store for itself, makes the features of batches of contents."""

    def __init__(self, store_url: str, known: Mapping[str, Embodiment]) -> None:
        self._store = open_store(store_url)
        self._known = dict(known)

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Column `content` in; one row with the number of `episodes` done, and one for each error: Ray Data makes text
        of an exception."""
        contents = [str(content) for content in batch["content"]]
        try:
            failed: list[VolanoError] = list(make(self._store, contents, self._known))
            done = len(contents) - len(failed)
        except (StorageError, SystemMissingError, ContractError) as error:
            failed, done = [error], 0
        rows = [{"episodes": str(done)}, *map(_told, failed)]
        return {name: np.array([row.get(name, "") for row in rows], dtype=np.str_) for name in _COLUMNS}


def make_features(store_url: str, known: Mapping[str, Embodiment] = SHIPPED_CONTRACTS, *, workers: int = 2) -> int:
    """Make the features that accepted episodes lack; the number made. Joins the cluster when there are any to make.
    Raises DataError(E-DATA-100) for the first episode that has none, StorageError, ContractError or
    SystemMissingError, when all others are done: what was made by then stays."""
    store = open_store(store_url)
    contents = missing(store, to_curate(store))
    if not contents:
        _LOG.info("every episode has its features")
        return 0
    _LOG.info("making the features of %d episodes", len(contents))
    connect()
    num_blocks = -(-len(contents) // _BATCH)
    made = ray.data.from_items([{"content": one} for one in contents], override_num_blocks=num_blocks).map_batches(
        Maker,
        fn_constructor_args=(store.url, dict(known)),
        batch_size=_BATCH,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=min(workers, num_blocks)),
        num_cpus=1,
    )
    done, errors = 0, list[VolanoError]()
    for row in made.iter_rows():
        if row["error"]:
            errors.append(_ERRORS[row["error"]](Code(row["code"]), row["cause"], row["fix"]))
            _LOG.error("%s", errors[-1])
        else:
            done += int(row["episodes"])
            _LOG.info("%d/%d", done, len(contents))
    if errors:
        raise errors[0]
    return done


def _told(error: VolanoError) -> dict[str, str]:
    return {"error": type(error).__name__, "code": str(error.code), "cause": error.cause, "fix": error.fix}


def main() -> None:
    """Entry of `python -m pipelines.curate`."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m pipelines.curate", description="Make the features of accepted episodes."
    )
    parser.add_argument("--store", required=True, help="URL of the object store")
    parser.add_argument("--workers", type=int, default=2, help="most actors that decode at the same time")
    parser.add_argument(
        "--contract", action="append", type=Path, default=[], metavar="FILE", help="contract of a robot of your own"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with coded_ending(_LOG):
        make_features(arguments.store, known_contracts(arguments.contract), workers=arguments.workers)


if __name__ == "__main__":
    main()
