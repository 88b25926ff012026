"""Mutated MCAP logs and LeRobot tables through the converting child, and mutated metadata through the readers: each
episode is refused by a code or converted, and what was converted is whole.
"""

import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from mcap.writer import CompressionType

from tests.sweeps.conftest import SWEPT
from tests.sweeps.mutations.inputs import INPUTS, LIMITS, PARTS, batches, chance_of, require_coded, require_each, told
from tests.sweeps.mutations.mutate import mcap, parquet
from tests.sweeps.mutations.mutate_json import damaged
from tests.unit.data.bundles import ROVER
from tests.unit.data.readers import test_mcap
from tests.unit.data.readers.sources import Truth, document, parsed, write_v2, write_v3
from volano.data.bundle import read_manifest
from volano.data.readers.child import Request
from volano.data.readers.convert import Conversion
from volano.data.readers.open import read
from volano.data.readers.plan import plan
from volano.data.sandbox import Bundle, check_bundles
from volano.errors import Code, DataError

pytestmark = pytest.mark.slow
_SHORT = Truth(number=0, frames=3)
_EPISODES = 40
_BROKEN = {
    *(Code.DATA_TRUNCATED_VIDEO, Code.DATA_FRAME_COUNT, Code.DATA_SCHEMA, Code.DATA_HASH, Code.DATA_MISSING_FILE),
    *(Code.DATA_MANIFEST, Code.DATA_CONTRACT, Code.DATA_DECODER),
}
"""Findings that a bundle which we wrote may not have, whatever its source held."""
_HANGS_S = 300
"""Seconds within which metadata are read or refused."""


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Clean logs of every encoding and packing."""
    path = tmp_path_factory.mktemp("logs") / "log.mcap"
    return [
        test_mcap.write_ros2(path, _SHORT, compression=CompressionType.NONE).read_bytes(),
        test_mcap.write_protobuf(path, _SHORT).read_bytes(),
        test_mcap.write_ros2(path, _SHORT).read_bytes(),
        test_mcap.write_json(path, _SHORT).read_bytes(),
    ]


def convert(source: Path, mapping: dict[str, Any], output: Path) -> Counter[str]:
    """Every episode, through the child; what became of them. What was converted passes the gate, or fails by what it
    holds and not by how it was written."""
    request = Request(
        source=source,
        embodiment=ROVER,
        mapping=parsed(mapping),
        mapping_text=json.dumps(mapping),
        robot="rover-01",
        output=output,
        limits=LIMITS,
    )
    seen: Counter[str] = Counter()
    written = []
    for one in Conversion(request, lambda _attempt: False):
        assert not one.cause.startswith("reading it failed"), f"{one.source}: {one.cause}"
        if one.status == "converted":
            written.append(output / one.attempt)
        else:
            seen["died" if one.code == Code.DATA_DECODER else one.code] += 1
    bundles = [Bundle(folder=folder, manifest=read_manifest(folder), embodiment=ROVER) for folder in written]
    found = check_bundles(bundles, LIMITS)
    require_coded(found, [folder.name for folder in written])
    for finding, folder in zip(found, written, strict=True):
        assert finding is None or finding.code not in _BROKEN, f"{folder.name}: {finding}"
    seen["converted"] += len(written)
    return seen


@pytest.mark.parametrize("part", range(PARTS))
def test_mutated_logs_end_in_a_code(
    tmp_path: Path, logs: list[bytes], part: int, record_property: Callable[[str, object], None]
) -> None:
    seen: Counter[str] = Counter()
    for numbers in batches("MCAP", part):
        (tmp_path / "source").mkdir()
        for number in numbers:
            log = mcap(logs[number % len(logs)], chance_of("MCAP", number))
            (tmp_path / "source" / f"{number:06d}.mcap").write_bytes(log)
        seen += convert(tmp_path / "source", test_mcap.MAPPING, tmp_path / "out")
        for folder in tmp_path.iterdir():
            shutil.rmtree(folder)
    record_property(SWEPT, told(seen, INPUTS["MCAP"] // PARTS))
    assert seen["converted"] < seen.total() // 2, "too little of it is damage"


@pytest.mark.parametrize("part", range(PARTS))
def test_mutated_tables_end_in_a_code(
    tmp_path: Path, part: int, record_property: Callable[[str, object], None]
) -> None:
    clean = write_v2(tmp_path / "clean", [Truth(number=n, frames=3) for n in range(_EPISODES)])
    seen: Counter[str] = Counter()
    share = INPUTS["foreign Parquet"] // PARTS
    for first in range(part * share, (part + 1) * share, _EPISODES):
        source = tmp_path / "source"
        shutil.copytree(clean, source, copy_function=os.link)
        for number, path in enumerate(sorted(source.glob("data/**/*.parquet")), start=first):
            data = parquet(path.read_bytes(), chance_of("foreign Parquet", number))
            path.unlink()
            path.write_bytes(data)
        seen += convert(source, document(), tmp_path / "out")
        shutil.rmtree(source)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    record_property(SWEPT, told(seen, share))
    assert seen["converted"] < seen.total() // 2, "too little of it is damage"


@pytest.mark.parametrize("part", range(PARTS))
def test_mutated_metadata_end_in_a_code(
    tmp_path: Path, part: int, record_property: Callable[[str, object], None]
) -> None:
    """Read as the converting child does, in a child that an alarm ends."""
    clean = [write(tmp_path / write.__name__, [_SHORT, Truth(number=1, frames=3)]) for write in (write_v2, write_v3)]
    texts = [(root, path) for root in clean for path in sorted(root.glob("meta/*.json*"))]
    mapping = parsed(document())

    def look(numbers: Sequence[int]) -> None:
        seen: Counter[str] = Counter()
        for number in numbers:
            signal.alarm(_HANGS_S)
            root, path = texts[number % len(texts)]
            source = tmp_path / "source"
            shutil.copytree(root, source, copy_function=os.link)
            changed = source / path.relative_to(root)
            changed.unlink()
            documents = path.read_bytes().splitlines() if path.suffix == ".jsonl" else [path.read_bytes()]
            chance = chance_of("foreign JSON", number)
            which = chance.randrange(len(documents))
            documents[which] = damaged(documents[which], chance)
            changed.write_bytes(b"\n".join(documents))
            try:
                _, found = read(source, mapping)
                for one in found:
                    plan(one.open(), mapping, ROVER)
                seen["read"] += 1
            except DataError as error:
                seen[str(error.code)] += 1
            shutil.rmtree(source)
        (tmp_path / "seen").write_text(json.dumps(seen))

    seen: Counter[str] = Counter()
    for numbers in batches("foreign JSON", part):
        require_each(list(numbers), [f"foreign JSON {number}" for number in numbers], look)
        seen += Counter(json.loads((tmp_path / "seen").read_text()))
    record_property(SWEPT, told(seen, INPUTS["foreign JSON"] // PARTS))
