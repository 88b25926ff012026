"""Parts of objects on a real S3 server, as in a folder."""

from tests.integration.seaweed import Seaweed, seaweed
from tests.unit.storage.test_ranges import DATA, require_ranges
from volano.storage.open import open_store
from volano.storage.ranges import open_ranges

__all__ = ["seaweed"]


def test_parts_of_objects(seaweed: Seaweed) -> None:
    seaweed.make_bucket("ranges")
    for prefix in ("", "some/place"):
        url = seaweed.url("ranges", prefix)
        open_store(url).put_new("a/b", DATA)
        require_ranges(open_ranges(url))
