"""The files of a policy folder, and its name by their content; apart from `volano.model.folder`, which needs torch."""

from pathlib import Path

from volano.errors import Code, PolicyError
from volano.storage.content import canonical_json, sha256_bytes, sha256_file

CONFIG, WEIGHTS, TOKENIZER, STATISTICS, EMBODIMENTS = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "statistics.json",
    "embodiments.json",
)
TEXT_ONLY = "text_only.json"
"""Where a policy has learned from robots without pictures: their contracts and statistics, for training to go on.

They stand apart from `EMBODIMENTS`, because a policy serves nobody whose pictures it has never seen.
"""


def content_digest(folder: Path) -> str:
    """Name of what `load` would build, made from its files alone. Unlike the manifest's digest it is known before
    anything is said about the policy, so an evaluation can carry it and a manifest can name that evaluation."""
    try:
        names = [CONFIG, WEIGHTS, TOKENIZER, STATISTICS, EMBODIMENTS]
        names += [TEXT_ONLY] if (folder / TEXT_ONLY).exists() else []
        files = {name: sha256_file(folder / name) for name in names}
    except OSError as error:
        raise PolicyError(
            Code.POLICY_FORMAT, f"{folder.name} is not a policy folder: {error}", "export the policy again"
        ) from error
    return sha256_bytes(canonical_json(files))
