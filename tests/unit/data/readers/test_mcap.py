"""MCAP logs of ROS 2, Protobuf and JSON messages, written with the formats' own packages, read back bit for bit."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from mcap.writer import CompressionType, Writer
from mcap_protobuf.schema import build_file_descriptor_set
from mcap_ros2.writer import Writer as Ros2Writer

from tests.unit.data.bundles import read_number
from tests.unit.data.readers.reading import convert_here, require_true
from tests.unit.data.readers.sources import TRUTHS, Truth, png, renamed
from volano.data.video import decode
from volano.errors import Code, DataError

TEXT = "go to the red ball"
START_NS = 1_700_000_000_000_000_000
TICK_NS = 100_000_000
AGE_NS = 30_000_000
"""How long before a row its observation was logged."""
MAPPING = renamed(
    {"state": "/state.position", "action": "/command.data", "ego": "/front", "rear": "/back"},
    instruction={"text": TEXT},
    clock={"topic": "/command", "max_age_s": 0.05},
)
JOINTS = "string[] name\nfloat32[] position"
IMAGE = "uint32 height\nuint32 width\nstring encoding\nuint32 step\nuint8[] data"
COMPRESSED = "string format\nuint8[] data"


def events(truth: Truth) -> list[tuple[int, str, Any]]:
    """(log time, topic, value) of a log in which each observation comes just before its row."""
    made: list[tuple[int, str, Any]] = []
    front, back = truth.images(64, 64), truth.images(48, 64)
    for k in range(truth.frames):
        at = START_NS + k * TICK_NS
        made += [(at - AGE_NS, "/state", truth.state[k]), (at - AGE_NS, "/front", front[k])]
        made += [(at - AGE_NS, "/back", back[k]), (at, "/command", truth.action[k])]
    return made


def write_ros2(path: Path, truth: Truth, *, compression: Any = CompressionType.ZSTD) -> Path:
    """A log of ROS 2 messages; one camera raw and bgr8, one compressed."""
    with path.open("wb") as stream:
        writer = Ros2Writer(stream, chunk_size=16 << 10, compression=compression)
        schemas = {
            "/state": writer.register_msgdef("sensor_msgs/msg/JointState", JOINTS),
            "/command": writer.register_msgdef("std_msgs/msg/Float32MultiArray", "float32[] data"),
            "/front": writer.register_msgdef("sensor_msgs/msg/Image", IMAGE),
            "/back": writer.register_msgdef("sensor_msgs/msg/CompressedImage", COMPRESSED),
        }
        for at, topic, value in events(truth):
            message: dict[str, Any] = {"data": value.tolist()}
            if topic == "/state":
                message = {"name": ["speed", "yaw_rate"], "position": value.tolist()}
            elif topic == "/front":
                bgr = value[:, :, ::-1].tobytes()
                message = {"height": 64, "width": 64, "encoding": "bgr8", "step": 192, "data": list(bgr)}
            elif topic == "/back":
                message = {"format": "png", "data": list(png(value))}
            writer.write_message(topic, schemas[topic], message, log_time=at, publish_time=at)
        writer.finish()
    return path


def write_json(path: Path, truth: Truth) -> Path:
    """A log of JSON messages, images in base64."""
    with path.open("wb") as stream:
        writer = Writer(stream, compression=CompressionType.LZ4)
        writer.start()
        schema = writer.register_schema("any", "jsonschema", b"{}")
        channels: dict[str, int] = {}
        for at, topic, value in events(truth):
            if topic not in channels:
                channels[topic] = writer.register_channel(topic, "json", schema)
            image = topic in ("/front", "/back")
            data = {"data": base64.b64encode(png(value)).decode() if image else [float(v) for v in value]}
            if topic == "/state":
                data = {"position": data["data"]}
            writer.add_message(channels[topic], at, json.dumps(data).encode(), at)
        writer.finish()
    return path


def write_protobuf(path: Path, truth: Truth) -> Path:
    """A log of Protobuf messages."""
    file = descriptor_pb2.FileDescriptorProto(name="rover.proto", package="rover", syntax="proto3")
    for name, member, wire, label in (("State", "position", 2, 3), ("Command", "data", 2, 3), ("Image", "data", 12, 1)):
        file.message_type.add(name=name).field.add(name=member, number=1, label=label, type=wire)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    kinds = {"/state": "State", "/command": "Command", "/front": "Image", "/back": "Image"}
    classes: dict[str, Any] = {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"rover.{name}"))
        for name in set(kinds.values())
    }
    with path.open("wb") as stream:
        writer = Writer(stream, compression=CompressionType.NONE)
        writer.start()
        channels: dict[str, int] = {}
        for at, topic, value in events(truth):
            kind = kinds[topic]
            if topic not in channels:
                described = build_file_descriptor_set(classes[kind]).SerializeToString()
                schema = writer.register_schema(f"rover.{kind}", "protobuf", described)
                channels[topic] = writer.register_channel(topic, "protobuf", schema)
            message = classes[kind]()
            if kind == "Image":
                message.data = png(value)
            else:
                getattr(message, "position" if kind == "State" else "data").extend(value.tolist())
            writer.add_message(channels[topic], at, message.SerializeToString(), at)
        writer.finish()
    return path


@pytest.mark.parametrize("write", [write_ros2, write_json, write_protobuf])
def test_round_trip(tmp_path: Path, write: Callable[[Path, Truth], Path]) -> None:
    (tmp_path / "source").mkdir()
    for truth in TRUTHS:
        write(tmp_path / f"source/log-{truth.number}.mcap", truth)
    made = convert_here(tmp_path / "source", MAPPING, tmp_path / "out")
    assert [bundle.name for bundle, _ in made] == ["old-log-0", "old-log-1", "old-log-2"]
    for (bundle, planned), truth in zip(made, TRUTHS, strict=True):
        require_true(bundle, truth, instruction=TEXT)
        assert planned.started_at == START_NS / 1e9


def named() -> dict[str, Any]:
    made = {**MAPPING, "state": {name: {**part} for name, part in MAPPING["state"].items()}}
    for name, part in made["state"].items():
        part["column"] = name
    return made


def test_columns_by_the_names_in_the_message(tmp_path: Path) -> None:
    source = write_ros2(tmp_path / "log.mcap", TRUTHS[0], compression=CompressionType.NONE)
    [(bundle, _)] = convert_here(source, named(), tmp_path / "out")
    require_true(bundle, TRUTHS[0], instruction=TEXT)


def test_joints_that_change_their_order_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "log.mcap").open("wb") as stream:
        writer = Ros2Writer(stream)
        schema = writer.register_msgdef("sensor_msgs/msg/JointState", JOINTS)
        for k, names in enumerate((["speed", "yaw_rate"], ["yaw_rate", "speed"])):
            message = {"name": names, "position": [0.0, 1.0]}
            writer.write_message("/state", schema, message, log_time=k, publish_time=k)
        writer.finish()
    with pytest.raises(DataError, match="order of its names"):
        convert_here(tmp_path / "log.mcap", named(), tmp_path / "out")


def test_a_row_never_sees_a_later_message_nor_a_stale_one(tmp_path: Path) -> None:
    """A camera that stops for three ticks shows its last image, or refuses the episode when that is too old."""
    truth = TRUTHS[0]
    path = tmp_path / "log.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start()
        schema = writer.register_schema("any", "jsonschema", b"{}")
        topics = ("/state", "/command", "/front", "/back")
        channels = {topic: writer.register_channel(topic, "json", schema) for topic in topics}
        for number, (at, topic, value) in enumerate(events(truth)):
            if topic == "/front" and 4 <= number // 4 < 7:
                continue
            image = topic in ("/front", "/back")
            data = base64.b64encode(png(value)).decode() if image else [float(v) for v in value]
            body = {"position" if topic == "/state" else "data": data}
            writer.add_message(channels[topic], at, json.dumps(body).encode(), at)
        writer.finish()
    with pytest.raises(DataError, match=r"row 6: '/front' is 0\.330 s old") as caught:
        convert_here(path, MAPPING, tmp_path / "refused")
    assert caught.value.code == Code.DATA_CLOCK
    patient = {**MAPPING, "clock": {"topic": "/command", "max_age_s": 0.5}}
    [(bundle, _)] = convert_here(path, patient, tmp_path / "out")
    shown = [read_number(image) - truth.first_number for image in decode(bundle / "camera.ego.mp4")]
    assert shown == [0, 1, 2, 3, 3, 3, 3, *range(7, 12)]


def test_cut_off_and_bombs(tmp_path: Path) -> None:
    source = write_ros2(tmp_path / "log.mcap", TRUTHS[0])
    whole = source.read_bytes()
    source.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(DataError) as caught:
        convert_here(source, MAPPING, tmp_path / "out")
    assert caught.value.code == Code.DATA_FOREIGN
    with source.open("wb") as stream:
        writer = Writer(stream, compression=CompressionType.ZSTD, chunk_size=1 << 40)
        writer.start()
        channel = writer.register_channel("/command", "json", 0)
        for k in range(5):
            writer.add_message(channel, k, bytes(60 << 20), k)
        writer.finish()
    assert source.stat().st_size < 1 << 20
    with pytest.raises(DataError) as caught:
        convert_here(source, MAPPING, tmp_path / "out")
    assert caught.value.code == Code.DATA_SIZE


def test_a_log_needs_a_clock(tmp_path: Path) -> None:
    source = write_json(tmp_path / "log.mcap", TRUTHS[0])
    unsaid = {name: value for name, value in MAPPING.items() if name != "clock"}
    with pytest.raises(DataError, match="clock topic"):
        convert_here(source, unsaid, tmp_path / "out")
