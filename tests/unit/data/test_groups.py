"""Where a version's videos are cut: just where a reader of their packets finds them."""

import hashlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pyarrow.parquet as pq
import pytest

from tests.unit.data.bundles import draw, encode
from volano.data.groups import GROUPS, HEADERS, VIDEOS, Cuts, write_groups
from volano.data.lerobot_video import VideoWriter
from volano.errors import Code, DataError

_FPS = 10


def joined(folder: Path, *, max_bytes: int = 1 << 30) -> list[Cuts]:
    """Videos of several lengths and settings, and one that has to be encoded again, in one folder of videos."""
    with VideoWriter(folder / VIDEOS / "ego", fps=_FPS, max_bytes=max_bytes) as writer:
        for number, (frames, options) in enumerate(
            [(20, {}), (7, {"g": "1"}), (1, {}), (31, {"g": "250"}), (12, {"bf": "3"}), (18, {"slices": "4"})]
        ):
            source = folder / f"{number}.mp4"
            encode(source, [draw(k, 64, 64) for k in range(frames)], rate=_FPS, options=options)
            writer.append(source, frames)
    return writer.cuts


def by_packets(path: Path) -> list[tuple[int, list[int], bytes]]:
    """Offset, sizes and hash of each group, as a reader of the file sees them; every frame is shown at its time."""
    found, data = list[tuple[int, list[int], bytes]](), path.read_bytes()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for number, packet in enumerate(one for one in container.demux(stream) if one.size):
            assert packet.pts is not None
            assert packet.pts * (stream.time_base or 0) == Fraction(number, _FPS)
            if packet.is_keyframe:
                found.append((packet.pos or 0, [], b""))
            found[-1][1].append(packet.size)
    return [(at, sizes, hashlib.sha256(data[at : at + sum(sizes)]).digest()) for at, sizes, _ in found]


@pytest.mark.parametrize("max_bytes", [1 << 30, 1])
def test_groups_stand_where_packets_do(tmp_path: Path, max_bytes: int) -> None:
    cuts = joined(tmp_path, max_bytes=max_bytes)
    write_groups(tmp_path, cuts)
    paths = sorted((tmp_path / VIDEOS).rglob("*.mp4"))
    assert sorted(one.path for one in cuts) == paths
    assert len(paths) >= 2
    for path in paths:
        table = pq.read_table((tmp_path / GROUPS / path.relative_to(tmp_path / VIDEOS)).with_suffix(".parquet"))
        assert [tuple(row.values()) for row in table.to_pylist()] == by_packets(path)
        with av.open(str(path)) as container:
            assert table.schema.metadata[HEADERS] == bytes(container.streams.video[0].codec_context.extradata or b"")


@pytest.mark.parametrize("spoil", ["no frames", "more frames", "empty"])
def test_a_file_of_another_form_is_refused(tmp_path: Path, spoil: str) -> None:
    cuts = joined(tmp_path)
    path = cuts[0].path
    if spoil == "more frames":
        cuts[0] = replace(cuts[0], sizes=[*cuts[0].sizes, [100]])
    else:
        path.write_bytes(path.read_bytes().replace(b"mdat", b"free") if spoil == "no frames" else b"")
    with pytest.raises(DataError) as caught:
        write_groups(tmp_path, cuts)
    assert caught.value.code == Code.DATA_VERSION
