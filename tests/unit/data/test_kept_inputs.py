"""Inputs that once made a check fail in a way that nobody had foreseen, kept byte for byte in `tests/golden/mutated`:
each is refused by the code in its name.
"""

from pathlib import Path

import pytest

from tests.unit.data.bundles import ROVER, Draft, manifest_of, write_bundle
from volano.data.episode import STEPS_FILE, video_file
from volano.data.validate import check_bundle

_KEPT = sorted((Path(__file__).parents[2] / "golden" / "mutated").iterdir())
_PLACES = {".mp4": video_file("ego"), ".parquet": STEPS_FILE}


@pytest.mark.parametrize("kept", [path for path in _KEPT if path.suffix in _PLACES], ids=lambda path: path.name)
def test_an_upload_that_once_broke_the_check_is_refused(tmp_path: Path, kept: Path) -> None:
    draft = Draft(frames=5)
    write_bundle(tmp_path / "bundle", draft)
    (tmp_path / "bundle" / _PLACES[kept.suffix]).write_bytes(kept.read_bytes())
    finding = check_bundle(tmp_path / "bundle", manifest_of(tmp_path / "bundle", draft), ROVER)
    assert finding is not None
    assert finding.code == kept.name.split(".")[0]
