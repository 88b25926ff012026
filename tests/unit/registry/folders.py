"""A small policy folder as training exports it."""

import json
import struct
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from volano.embodiment.shipped import CAR, SCOUT
from volano.registry.manifest import Lineage, Manifest, write_manifest
from volano.registry.release import sign_folder

LINEAGE = Lineage(
    dataset_versions=("a" * 64, "b" * 64), config_digest="c" * 64, code_revision="1a2b3c4", parent="d" * 64
)


def safetensors(header: object, data: bytes) -> bytes:
    """A file of that header and data, sound or not."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def exported(folder: Path) -> Path:
    """An unsigned policy folder without a manifest."""
    folder.mkdir()
    robots = {robot.tag: robot.to_json() for robot in (CAR, SCOUT)}
    (folder / "embodiments.json").write_text(json.dumps(robots))
    (folder / "config.json").write_text('{"architecture": "tiny"}')
    header = {"weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    (folder / "model.safetensors").write_bytes(safetensors(header, bytes(range(24))))
    return folder


def released(folder: Path, key: Ed25519PrivateKey) -> Manifest:
    """A described and signed policy folder."""
    manifest = write_manifest(exported(folder), LINEAGE)
    sign_folder(folder, key)
    return manifest
