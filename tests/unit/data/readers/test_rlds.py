"""RLDS without TensorFlow: records and Examples, encoded here by the formats' own rules, read back bit for bit."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.data.readers.reading import convert_here, require_true
from tests.unit.data.readers.sources import TRUTHS, Truth, png, renamed
from volano.data.readers.example import parse
from volano.data.readers.tfrecord import crc32c, masked
from volano.errors import Code, DataError

MAPPING = renamed(
    {
        "state": "steps/observation/state",
        "action": "steps/action",
        "ego": "steps/observation/front",
        "rear": "steps/observation/back",
    },
    instruction={"field": "steps/language_instruction"},
    outcome={"success": {"field": "steps/reward", "when": "end"}, "source": "operator"},
    rate_hz=10,
)


def varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def delimited(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def feature(value: Any) -> bytes:
    """A Feature message of bytes, float32 or whole numbers."""
    if isinstance(value, list):
        return delimited(1, b"".join(delimited(1, item) for item in value))
    if value.dtype.kind == "f":
        return delimited(2, delimited(1, value.astype("<f4").tobytes()))
    packed = b"".join(varint(int(item) & 0xFFFFFFFFFFFFFFFF) for item in value.reshape(-1))
    return delimited(3, delimited(1, packed))


def example(features: dict[str, Any]) -> bytes:
    entries = (delimited(1, name.encode()) + delimited(2, feature(value)) for name, value in features.items())
    return delimited(1, b"".join(delimited(1, entry) for entry in entries))


def slow_crc32c(data: bytes) -> int:
    """CRC-32C bit by bit, as its definition says."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def framed(record: bytes) -> bytes:
    def mask(data: bytes) -> bytes:
        value = slow_crc32c(data)
        return struct.pack("<I", ((value >> 15 | value << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(record))
    return length + mask(length) + record + mask(record)


def steps_of(truth: Truth) -> dict[str, Any]:
    count = truth.frames
    return {
        "steps/is_first": (np.arange(count) == 0).astype(np.int64),
        "steps/is_last": (np.arange(count) == count - 1).astype(np.int64),
        "steps/reward": (np.arange(count) == count - 1).astype(np.float32),
        "steps/action": truth.action,
        "steps/observation/state": truth.state,
        "steps/observation/front": [png(image) for image in truth.images(64, 64)],
        "steps/observation/back": [png(image) for image in truth.images(48, 64)],
        "steps/language_instruction": [truth.instruction.encode()] * count,
        "episode_metadata/file_path": [b"/somewhere/else"],
    }


def write_rlds(root: Path, truths: list[Truth] = TRUTHS) -> Path:
    """A prepared dataset, an episode in each shard."""
    root.mkdir()
    (root / "features.json").write_text(json.dumps({"pythonClassName": "FeaturesDict"}))
    (root / "dataset_info.json").write_text(json.dumps({"fileFormat": "tfrecord"}))
    for number, truth in enumerate(truths):
        name = f"rover-train.tfrecord-{number:05d}-of-{len(truths):05d}"
        (root / name).write_bytes(framed(example(steps_of(truth))))
    return root


def test_round_trip(tmp_path: Path) -> None:
    made = convert_here(write_rlds(tmp_path / "source"), MAPPING, tmp_path / "out")
    assert made[1][0].name == "old-train-00001-000000"
    for (bundle, planned), truth in zip(made, TRUTHS, strict=True):
        require_true(bundle, truth)
        assert planned.notes == ()


@given(st.binary(max_size=300), st.integers(0, 9000))
def test_the_checksum_is_that_of_the_definition(data: bytes, padding: int) -> None:
    long = data + bytes(padding) + data
    assert crc32c(long) == slow_crc32c(long)


def test_the_checksum_of_the_standard() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert masked(b"") == 0xA282EAD8


def test_examples_are_what_protobuf_reads() -> None:
    """The same bytes through Google's parser, with the message described here."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")
    for name, wire in (("BytesList", 12), ("FloatList", 2), ("Int64List", 3)):
        file.message_type.add(name=name).field.add(name="value", number=1, label=3, type=wire)
    one = file.message_type.add(name="Feature")
    for number, name in enumerate(("BytesList", "FloatList", "Int64List"), start=1):
        one.field.add(name=name.lower(), number=number, label=1, type=11, type_name=f".t.{name}")
    entry = file.message_type.add(name="Entry")
    entry.field.add(name="key", number=1, label=1, type=9)
    entry.field.add(name="value", number=2, label=1, type=11, type_name=".t.Feature")
    file.message_type.add(name="Features").field.add(name="feature", number=1, label=3, type=11, type_name=".t.Entry")
    whole = file.message_type.add(name="Example")
    whole.field.add(name="features", number=1, label=1, type=11, type_name=".t.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    message: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))()
    numbers = [-5, 0, 1 << 40]
    for name, kind, values in (("a", "bytes", [b"x", b""]), ("b", "float", [1.5, -2.0]), ("c", "int64", numbers)):
        added = message.features.feature.add(key=name)
        getattr(added.value, f"{kind}list").value.extend(values)
    found = parse(message.SerializeToString())
    assert found["a"] == [b"x", b""]
    assert list(found["b"]) == [1.5, -2.0]
    assert list(found["c"]) == numbers


def test_an_example_that_is_cut_off() -> None:
    whole = example({"a": [b"text"]})
    assert parse(whole) == {"a": [b"text"]}
    for end in range(1, len(whole)):
        with pytest.raises(DataError):
            parse(whole[:end])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps/is_first": np.ones(12, np.int64)}, "first step alone"),
        ({"steps/is_first": np.zeros(0, np.int64)}, "how many steps"),
        ({"steps/action": np.zeros(23, np.float32)}, "23 values for 12 steps"),
    ],
)
def test_steps_that_do_not_add_up(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    source = write_rlds(tmp_path / "source", TRUTHS[:1])
    record = framed(example({**steps_of(TRUTHS[0]), **changes}))
    (source / "rover-train.tfrecord-00000-of-00001").write_bytes(record)
    with pytest.raises(DataError, match=says):
        convert_here(source, MAPPING, tmp_path / "out")


def test_a_flipped_bit_a_missing_shard_and_a_huge_length(tmp_path: Path) -> None:
    source = write_rlds(tmp_path / "source")
    path = source / "rover-train.tfrecord-00001-of-00003"
    good = path.read_bytes()
    damaged = bytearray(good)
    damaged[len(good) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DataError) as caught:
        convert_here(source, MAPPING, tmp_path / "out")
    assert caught.value.code == Code.DATA_HASH
    length = struct.pack("<Q", 1 << 40)
    path.write_bytes(length + struct.pack("<I", masked(length)) + good)
    with pytest.raises(DataError) as caught:
        convert_here(source, MAPPING, tmp_path / "out")
    assert caught.value.code == Code.DATA_SIZE
    path.unlink()
    with pytest.raises(DataError, match="shards of 'train' are missing"):
        convert_here(source, MAPPING, tmp_path / "out")
