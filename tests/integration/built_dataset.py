"""Small dataset versions for the tests of jobs."""

from pathlib import Path

from tests.unit.data.bundles import Draft, claims_with, upload, write_bundle
from volano.data.build import build_version
from volano.data.judge import judge
from volano.data.verdict import pending
from volano.embodiment.shipped import SCOUT
from volano.storage.open import open_store


def dataset(folder: Path) -> tuple[str, str]:
    """A store's URL and a version in it with three episodes of the scout."""
    store, known = open_store(f"file://{folder / 'store'}"), {SCOUT.fingerprint: SCOUT}
    for seed in range(3):
        draft = Draft(embodiment=SCOUT, robot="scout-01", frames=12, seed=seed, first_number=20 * seed)
        manifest = write_bundle(folder / f"bundle-{seed}", draft)
        upload(store, folder / f"bundle-{seed}", claims_with(manifest, attempt=f"attempt-{seed}"))
    judge(store, pending(store), known, lambda bundles: [None for _ in bundles])
    return store.url, build_version(store, parent="", reason="test", select=lambda _: 1.0, known=known).id
