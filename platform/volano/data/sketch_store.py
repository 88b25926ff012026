"""Where sketches are kept: one object for each accepted content, made when it is missed, and written once.

A sketch can always be made again from its episode, so a lost one is no loss; one that is not its episode's is refused.
"""

from pathlib import Path

from volano.data.episode import Manifest
from volano.data.sketch import EpisodeSketch, sketch_episode
from volano.data.sketch_record import SCHEMA, from_bytes, to_bytes
from volano.embodiment.contract import Embodiment
from volano.errors import Code, StorageError
from volano.storage.store import ObjectStore

SKETCHES = f"sketches/{SCHEMA}/"


def sketch_key(content_id: str) -> str:
    """Key of a content's sketch."""
    return f"{SKETCHES}{content_id}.json"


def kept_sketch(store: ObjectStore, folder: Path, manifest: Manifest, embodiment: Embodiment) -> EpisodeSketch:
    """The sketch of an accepted episode; when there is none, it is made from the bundle in `folder` and kept. Of
    several makers the first one's counts. Raises StorageError(E-STORE-007) for one that is not this episode's."""
    key = sketch_key(manifest.content_id)
    try:
        data = store.get(key)
    except StorageError as error:
        if error.code is not Code.STORE_MISSING:
            raise
        made = sketch_episode(folder, manifest, embodiment)
        if store.put_new(key, to_bytes(made)):
            return made
        data = store.get(key)
    try:
        return from_bytes(data, manifest, embodiment)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        cause = f"{key} is not the sketch that its name says: {error}"
        raise StorageError(Code.STORE_CORRUPT, cause, "delete the object: it is made again") from error
