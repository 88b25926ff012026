"""What a policy folder says about itself: every file with its hash, every contract, and where it came from.

`manifest.json` is canonical JSON, and the SHA-256 of its bytes is the policy's name everywhere. Parsing is strict: a
manifest from outside is hostile until `Manifest.from_bytes` returned.
"""

import json
import re
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from volano.data.episode import FileEntry
from volano.embodiment.contract import Embodiment
from volano.errors import Code, PolicyError, VolanoError
from volano.storage.content import canonical_json, sha256_bytes, sha256_file
from volano.storage.files import open_plain, replace_file

SCHEMA = "volano.policy.1"
MANIFEST = "manifest.json"
EMBODIMENTS = "embodiments.json"
"""The file of a policy folder with the full contracts, by tag."""
MAX_TEXT_BYTES = 4 << 20
"""Largest manifest or table of contracts that is read."""
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\.(json|safetensors|md|txt)")
"""Data that no reader runs; everything else (pickles, Python, archives) has no place in a policy."""
_HEX = re.compile(r"[0-9a-f]{64}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Where a policy came from, so that each of its parts can be found and checked."""

    dataset_versions: tuple[str, ...]
    """Identifiers of the dataset versions it was trained on."""
    config_digest: str
    """Hash of the run's configuration."""
    code_revision: str
    """Revision of the code that trained it, for example a commit."""
    parent: str = ""
    """Digest of the policy it was trained from; empty for none."""
    evaluation: str = ""
    """SHA-256 of the evaluation report; empty for a policy that was not evaluated yet."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A policy folder's content and lineage."""

    files: dict[str, FileEntry]
    """Name to size and hash; the folder is flat and holds these and the manifest."""
    embodiments: dict[str, str]
    """Tag to fingerprint of every contract the policy serves."""
    lineage: Lineage

    @cached_property
    def digest(self) -> str:
        """The policy's name: SHA-256 of `to_bytes`."""
        return sha256_bytes(self.to_bytes())

    def to_bytes(self) -> bytes:
        """Canonical JSON, the content of `manifest.json`."""
        return canonical_json({"schema": SCHEMA, **asdict(self)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse untrusted bytes; raises PolicyError(E-POLICY-001) unless they are a manifest as `to_bytes` writes."""
        try:
            manifest = cls(**_parse(json.loads(data)))
            if manifest.to_bytes() != data:
                raise ValueError("its JSON is not in canonical form")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise malformed(f"{MANIFEST} is refused: {error}") from error
        return manifest


def write_manifest(folder: Path, lineage: Lineage) -> Manifest:
    """Describe a policy folder and write its `manifest.json`.

    Raises PolicyError: E-POLICY-002 for a file that may not be in a policy, E-POLICY-001 for unreadable contracts.
    """
    names = sorted(set(list_folder(folder)) - {MANIFEST})
    for name in names:
        if not _FILE_NAME.fullmatch(name):
            raise tampered(f"{name!r} may not be in a policy", "keep JSON, safetensors, Markdown and text only")
    files = {name: entry_of(folder / name) for name in names}
    written = Manifest(files=files, embodiments=fingerprints(folder), lineage=lineage).to_bytes()
    manifest = Manifest.from_bytes(written)
    replace_file(folder / MANIFEST, [written])
    return manifest


def list_folder(folder: Path) -> list[str]:
    """Names in a folder of plain files; raises PolicyError(E-POLICY-002) for a link, folder or device in it, and
    E-POLICY-001 when there is no such folder."""
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise malformed(f"{folder} is not a policy folder: {error.strerror}") from error
    for path in found:
        if path.is_symlink() or not path.is_file():
            raise tampered(f"{path.name!r} is not a plain file", "a policy is a flat folder of plain files")
    return [path.name for path in found]


def fingerprints(folder: Path) -> dict[str, str]:
    """Tag to fingerprint of the contracts in a folder; raises PolicyError(E-POLICY-001) when they cannot be read."""
    try:
        table = json.loads(read_bounded(folder / EMBODIMENTS))
        robots = {tag: Embodiment.from_json(plain) for tag, plain in table.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        cause = error.cause if isinstance(error, VolanoError) else str(error)
        raise malformed(f"{EMBODIMENTS} is refused: {cause}") from error
    if not robots or any(tag != robot.tag for tag, robot in robots.items()):
        raise malformed(f"{EMBODIMENTS} does not name each contract by its tag")
    return {tag: robot.fingerprint for tag, robot in sorted(robots.items())}


def read_bounded(path: Path) -> bytes:
    """A small plain file; raises PolicyError(E-POLICY-001) when it is missing, a link or pipe, or larger than
    MAX_TEXT_BYTES."""
    try:
        with open_plain(path) as stream:
            data = stream.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        if path.name == MANIFEST and path.parent.is_dir() and not path.exists():
            raise malformed(f"{path.parent} has no {MANIFEST}", f"volano policy describe {path.parent}") from error
        if not path.parent.is_dir():
            raise malformed(f"there is no folder {path.parent}", "name a policy's folder") from error
        raise malformed(f"{path.name} is missing or no plain file: {error.strerror}") from error
    if len(data) > MAX_TEXT_BYTES:
        raise malformed(f"{path.name} is larger than {MAX_TEXT_BYTES} bytes")
    return data


def entry_of(path: Path) -> FileEntry:
    """Size and hash of a file as it stands."""
    return FileEntry(size=path.stat().st_size, sha256=sha256_file(path))


def malformed(cause: str, fix: str = "export the policy again") -> PolicyError:
    """E-POLICY-001."""
    return PolicyError(Code.POLICY_FORMAT, cause, fix)


def tampered(cause: str, fix: str = "fetch the policy again from where it was released") -> PolicyError:
    """E-POLICY-002."""
    return PolicyError(Code.POLICY_TAMPERED, cause, fix)


def _parse(data: object) -> dict[str, Any]:
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA!r}")
    fields = {name: value for name, value in data.items() if name != "schema"}
    fields["files"] = {name: FileEntry(**entry) for name, entry in fields["files"].items()}
    fields["lineage"] = Lineage(
        **{**fields["lineage"], "dataset_versions": tuple(fields["lineage"]["dataset_versions"])}
    )
    _check(fields["files"], fields["embodiments"], fields["lineage"])
    return fields


def _check(files: dict[str, FileEntry], embodiments: dict[str, str], lineage: Lineage) -> None:
    for name, entry in files.items():
        sized = isinstance(entry.size, int) and not isinstance(entry.size, bool) and entry.size >= 0
        if not _FILE_NAME.fullmatch(name) or name == MANIFEST or not sized:
            raise ValueError(f"file {name!r} is not allowed")
    hashes = [*(entry.sha256 for entry in files.values()), *embodiments.values(), *lineage.dataset_versions]
    hashes += [lineage.config_digest, *(text for text in (lineage.parent, lineage.evaluation) if text != "")]
    if not embodiments or not all(_HEX.fullmatch(text) for text in hashes):
        raise ValueError("a hash is not 64 hex digits, or no contract is named")
    if not _REVISION.fullmatch(lineage.code_revision):
        raise ValueError(f"code revision {lineage.code_revision!r} is not allowed")
