"""What stands in a recorded bundle's folder beside the episode's own files, and reading its manifest.

Light enough for a robot that only uploads: neither Parquet nor video is imported.
"""

from pathlib import Path

from volano.data.episode import Manifest
from volano.data.text import strict_json
from volano.errors import Code, DataError

MANIFEST_FILE = "manifest.json"
"""Written last: a folder without it is torn."""
JOURNAL_FILE = "recording.journal"
"""What was recorded so far; gone once the bundle is complete."""
REPAIRED_FILE = "repaired.json"
"""What a repair kept and dropped; only in a bundle that one completed."""
UPLOADED_FILE = "uploaded"
"""Marker with the receipt; a bundle with it is in the store."""


def read_manifest(bundle: Path) -> Manifest:
    """The manifest of a finished bundle; raises DataError(E-DATA-014) when it is torn or damaged."""
    try:
        return Manifest.from_json(strict_json((bundle / MANIFEST_FILE).read_bytes()))
    except FileNotFoundError as error:
        raise DataError(
            Code.DATA_MANIFEST,
            f"{bundle} has no manifest: its recording was cut off",
            f"keep what was recorded: volano data repair {bundle.parent}",
        ) from error
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(Code.DATA_MANIFEST, f"the manifest of {bundle} is damaged", "check the robot's disk") from error
