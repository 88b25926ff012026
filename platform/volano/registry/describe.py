"""Where a policy that a training exported came from: what its folder has to say before anybody can vouch for it."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from volano.errors import PolicyError
from volano.evaluate.report import Evaluation
from volano.model.files import content_digest
from volano.registry.manifest import MANIFEST, Lineage, Manifest, malformed, read_bounded, tampered, write_manifest
from volano.registry.release import check_folder
from volano.train.layout import TRAINED
from volano.train.sets import other_versions


def lineage_of(folder: Path, evaluation: Evaluation | None, parent: str, code_revision: str) -> Lineage:
    """By the configuration that training left in the folder; `parent` is the digest of the policy that it went on from,
    empty for none. Raises PolicyError: E-POLICY-001 for a folder of no training, E-POLICY-002 when the evaluation is of
    another policy."""
    try:
        plain = _asked(folder)
        mixed = other_versions(stage["mixture"] for stage in plain["config"]["stages"])
        version, config_digest = str(plain["request"]["version"]), str(plain["config_digest"])
    except (TypeError, KeyError, AttributeError) as error:
        raise _no_training(error) from error
    if evaluation is not None and content_digest(folder) != evaluation.policy:
        raise tampered(f"{folder} is not the policy that was evaluated", "evaluate it: python -m jobs.evaluate FOLDER")
    return Lineage(
        dataset_versions=(version, *mixed),
        config_digest=config_digest,
        code_revision=code_revision,
        parent=parent,
        evaluation="" if evaluation is None else evaluation.digest,
    )


def parent_of(folder: Path) -> str:
    """Where the policy lay that training went on from, as it was told; empty for none. Raises PolicyError(E-POLICY-001)
    for a folder of no training."""
    try:
        return str(_asked(folder)["request"]["parent"] or "")
    except (TypeError, KeyError) as error:
        raise _no_training(error) from error


def describe(folder: Path, lineage: Lineage) -> Manifest:
    """Write the folder's manifest; one that says the same already stays, whichever code it names. Raises PolicyError
    like `write_manifest` and `check_folder`, E-POLICY-002 when it is described as another policy."""
    if not (folder / MANIFEST).exists():
        write_manifest(folder, lineage)
    manifest = check_folder(folder)
    if replace(manifest.lineage, code_revision="") != replace(lineage, code_revision=""):
        raise tampered(f"{folder} is described as another policy", f"remove its {MANIFEST} and describe it again")
    return manifest


def code_revision(tree: Path) -> str:
    """The commit of a source tree, marked when files differ from it; `unknown` for what is no repository itself, and
    without Git."""
    if not (tree / ".git").exists():
        return "unknown"
    command = ["git", "-C", str(tree), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return answer.stdout.strip() or "unknown"


def _asked(folder: Path) -> Any:
    try:
        return json.loads(read_bounded(folder / TRAINED))
    except (ValueError, RecursionError) as error:
        raise _no_training(error) from error


def _no_training(error: Exception) -> PolicyError:
    return malformed(f"{TRAINED} is not what a training writes: {type(error).__name__}")
