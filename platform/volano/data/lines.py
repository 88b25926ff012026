"""Files of JSON lines, as processes that may be killed append them."""

import json
import logging
from pathlib import Path
from typing import Any

_LOG = logging.getLogger(__name__)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Every whole entry of the file, none when there is no file; a line that a kill tore is left out."""
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            _LOG.warning("%s has a torn line", path)
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found
