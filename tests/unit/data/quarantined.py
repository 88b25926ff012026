"""Bundles with a finding that a person may overrule, and a check that looks at them as the sandbox's child does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.unit.data.bundles import Draft, columns, manifest_of, upload, write_bundle, write_steps
from volano.data.episode import STEPS_FILE, Manifest
from volano.data.finding import Finding
from volano.data.sandbox import Bundle
from volano.data.validate import check_bundle
from volano.storage.store import ObjectStore


def check(bundles: Sequence[Bundle]) -> list[Finding | None]:
    """The real checks without a child."""
    return [check_bundle(one.folder, one.manifest, one.embodiment, one.overruled) for one in bundles]


def lax(bundles: Sequence[Bundle]) -> list[Finding | None]:
    """A check of another day, which finds nothing."""
    return [None for _ in bundles]


def paused(folder: Path, draft: Draft, **also: Any) -> Manifest:
    """An episode with a long pause before its last tick; `also` replaces the value of a column's second row."""
    write_bundle(folder, draft)
    table = columns(draft)
    table["timestamp"] = [*table["timestamp"][:-1], table["timestamp"][-1] + 2]
    for name, value in also.items():
        changed = np.array(table[name])
        changed[1, 1] = value
        table[name] = changed
    write_steps(folder / STEPS_FILE, table, draft.embodiment)
    return manifest_of(folder, draft)


def send_paused(store: ObjectStore, folder: Path, draft: Draft, **also: Any) -> str:
    """Upload such an episode; the upload's key."""
    return upload(store, folder, paused(folder, draft, **also))
