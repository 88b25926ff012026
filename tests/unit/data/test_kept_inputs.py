"""Inputs that once made a check fail in a way that nobody had foreseen, or ended a decoder's process, kept byte for
byte in `tests/golden/mutated`: each is refused, an upload by the code in its name.
"""

import json
from pathlib import Path

import pytest

from tests.unit.data.bundles import ROVER, Draft, manifest_of, write_bundle
from tests.unit.data.readers.sources import Truth, document, parsed, write_v2
from volano.data.episode import STEPS_FILE, video_file
from volano.data.readers.child import Request
from volano.data.readers.deliver import planned
from volano.data.validate import check_bundle
from volano.errors import Code

_MUTATED = Path(__file__).parents[2] / "golden" / "mutated"
_KEPT = sorted(_MUTATED.iterdir())
_PLACES = {".mp4": video_file("ego"), ".parquet": STEPS_FILE}


@pytest.mark.parametrize("kept", [path for path in _KEPT if path.suffix in _PLACES], ids=lambda path: path.name)
def test_an_upload_that_once_broke_the_check_is_refused(tmp_path: Path, kept: Path) -> None:
    draft = Draft(frames=5)
    write_bundle(tmp_path / "bundle", draft)
    (tmp_path / "bundle" / _PLACES[kept.suffix]).write_bytes(kept.read_bytes())
    finding = check_bundle(tmp_path / "bundle", manifest_of(tmp_path / "bundle", draft), ROVER)
    assert finding is not None
    assert finding.code == kept.name.split(".")[0]


@pytest.mark.parametrize("kept", sorted((_MUTATED / "foreign").iterdir()), ids=lambda path: path.name)
def test_a_table_that_once_ended_its_reader_costs_its_episode_alone(tmp_path: Path, kept: Path) -> None:
    """Arrow ends its process at some footers; a later one may refuse them."""
    source = write_v2(tmp_path / "source", [Truth(number=number, frames=3) for number in range(3)])
    (source / "data/chunk-000/episode_000001.parquet").write_bytes(kept.read_bytes())
    text = json.dumps(document())
    request = Request(source=source, embodiment=ROVER, mapping=parsed(document()), mapping_text=text, robot="rover-01")
    found = list(planned(request))
    assert [one.status for one in found] == ["planned", "refused", "planned"]
    assert found[1].code in {Code.DATA_DECODER, Code.DATA_FOREIGN}
