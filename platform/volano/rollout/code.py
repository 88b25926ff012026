"""Which code judges: a digest over the sources of this package, which stands beside every verdict in the audit log.

A verdict that cannot be made again is then told apart: changed inputs, or other code.
"""

from functools import cache
from pathlib import Path

from volano.storage.content import canonical_json, sha256_bytes


@cache
def code_digest() -> str:
    """SHA-256 over the names and contents of the package's modules, as they stand on the disk."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return sha256_bytes(canonical_json({path.name: sha256_bytes(path.read_bytes()) for path in sources}))
