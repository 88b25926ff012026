"""Sources cut off and mutated, some hundreds of each format: a coded DataError or an episode, never anything else.

What a lucky mutation lets through still meets the ingest gate. Everything runs in this process, so that an exception
of another kind is seen; in use a limited child stands in between.
"""

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.data.readers import test_hdf5, test_mcap, test_rlds
from tests.unit.data.readers.reading import convert_here
from tests.unit.data.readers.sources import Truth, document, write_v2, write_v3
from volano.errors import DataError

SHORT = Truth(number=0, frames=3)
OTHER = Truth(number=1, frames=3)


def _hdf5(root: Path) -> Path:
    root.mkdir()
    test_hdf5.write_aloha(root / "a.hdf5", SHORT, coding="padded")
    return root


def _robomimic(root: Path) -> Path:
    root.mkdir()
    test_hdf5.write_robomimic(root / "a.hdf5", [SHORT], compression="gzip")
    return root


def _mcap(write: Callable[[Path, Truth], Path]) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        root.mkdir()
        write(root / "a.mcap", SHORT)
        return root

    return make


FORMATS: dict[str, tuple[Callable[[Path], Path], dict[str, Any], int]] = {
    "LeRobot v2": (lambda root: write_v2(root, [SHORT, OTHER]), document(), 120),
    "LeRobot v3": (lambda root: write_v3(root, [SHORT, OTHER]), document(), 120),
    "LeRobot images": (lambda root: write_v2(root, [SHORT], images=True), document(), 60),
    "ALOHA": (_hdf5, test_hdf5.ALOHA, 120),
    "robomimic": (_robomimic, test_hdf5.ROBOMIMIC, 120),
    "RLDS": (lambda root: test_rlds.write_rlds(root, [SHORT]), test_rlds.MAPPING, 120),
    "ROS 2": (_mcap(test_mcap.write_ros2), test_mcap.MAPPING, 120),
    "Protobuf": (_mcap(test_mcap.write_protobuf), test_mcap.MAPPING, 120),
    "JSON": (_mcap(test_mcap.write_json), test_mcap.MAPPING, 60),
}


def mutate(data: bytes, chance: random.Random) -> bytes:
    """The bytes cut off, with bytes changed, a piece removed, doubled or blown up."""
    if not data:
        return data
    changed = bytearray(data)
    at = chance.randrange(len(data))
    length = chance.randint(1, 64)
    match chance.randrange(6):
        case 0:
            del changed[at:]
        case 1:
            for _ in range(chance.randint(1, 8)):
                changed[chance.randrange(len(data))] = chance.randrange(256)
        case 2:
            changed[at : at + 8] = b"\xff" * len(changed[at : at + 8])
        case 3:
            del changed[at : at + length]
        case 4:
            changed[at:at] = changed[at : at + length]
        case _:
            changed[at : at + 4] = chance.choice([0, 1, 1 << 31, 0xFFFFFFFF, 0x7FFFFFFF]).to_bytes(4, "little")
    return bytes(changed)


@pytest.mark.parametrize("name", FORMATS)
def test_mutated_sources_end_in_a_code(tmp_path: Path, name: str) -> None:
    make, mapping, cases = FORMATS[name]
    clean = make(tmp_path / "clean")
    files = sorted(path.relative_to(clean) for path in clean.rglob("*") if path.is_file())
    chance = random.Random(name)
    seen: Counter[str] = Counter()
    for case in range(cases):
        source = tmp_path / "source"
        shutil.copytree(clean, source)
        path = source / chance.choice(files)
        path.write_bytes(mutate(path.read_bytes(), chance))
        try:
            convert_here(source, mapping, tmp_path / "out")
            seen["converted"] += 1
        except DataError as error:
            seen[error.code] += 1
        except Exception as error:
            raise AssertionError(f"{name} case {case}, {path.name}: {type(error).__name__}") from error
        shutil.rmtree(source)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert cases - seen["converted"] >= cases // 4
