"""A small policy folder as training exports it, and a platform that releases it into a store in memory."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path

from tests.unit.data.memory_store import MemoryStore
from volano.embodiment.shipped import CAR, SCOUT
from volano.registry import repository
from volano.registry.keys import Keys, open_keys
from volano.registry.manifest import Lineage, Manifest, write_manifest
from volano.registry.metadata import Releases
from volano.registry.release import publish
from volano.registry.trust import Trust
from volano.storage.store import ObjectStore

LINEAGE = Lineage(
    dataset_versions=("a" * 64, "b" * 64), config_digest="c" * 64, code_revision="1a2b3c4", parent="d" * 64
)
NOW = 1_800_000_000.0
"""When these tests begin, in Unix seconds."""


def safetensors(header: object, data: bytes) -> bytes:
    """A file of that header and data, sound or not."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def exported(folder: Path, weights: bytes = bytes(range(24))) -> Path:
    """A policy folder without a manifest."""
    folder.mkdir()
    robots = {robot.tag: robot.to_json() for robot in (CAR, SCOUT)}
    (folder / "embodiments.json").write_text(json.dumps(robots))
    (folder / "config.json").write_text('{"architecture": "tiny"}')
    header = {"weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    (folder / "model.safetensors").write_bytes(safetensors(header, weights))
    return folder


def described(folder: Path, weights: bytes = bytes(range(24))) -> Manifest:
    """A policy folder with its manifest."""
    return write_manifest(exported(folder, weights), LINEAGE)


@dataclass(frozen=True, kw_only=True)
class Platform:
    """Who releases: keys, what it trusts, and a store."""

    store: ObjectStore
    keys: Keys
    trust: Trust
    folder: Path

    def robot(self, name: str = "robot") -> Trust:
        """What another party trusts, that was brought this platform's root and nothing else."""
        return Trust(anchor=self.keys.anchor, state=self.folder / name / "trusted.json")

    def release(self, name: str, weights: bytes = bytes(range(24)), now: float = NOW) -> Manifest:
        """Release a policy of these weights."""
        described(self.folder / name, weights)
        manifest = publish(self.store, self.folder / name)
        repository.release(self.store, self.keys, self.trust, manifest, now)
        return manifest

    def look(self, now: float = NOW) -> Releases:
        """What it believes itself."""
        return self.trust.look(self.store, now)


def platform(folder: Path, store: ObjectStore | None = None, now: float = NOW) -> Platform:
    """A platform that has released nothing yet."""
    keys = open_keys(folder / "keys", now)
    made = Platform(
        store=store or MemoryStore(),
        keys=keys,
        trust=keys.trust,
        folder=folder,
    )
    repository.begin(made.store, keys, now)
    return made
