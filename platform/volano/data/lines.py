"""Files of JSON lines, as processes that may be killed append them."""

import json
import logging
from pathlib import Path
from typing import Any

_LOG = logging.getLogger(__name__)


def read_turns(path: Path) -> list[dict[str, Any]]:
    """Every whole entry of a log whose files take turns, oldest first: PATH, and before it PATH with `.1`, `.2`, …

    Files may take a turn meanwhile: then an entry may come twice, and none is left out but those of a file that went.
    """
    turns, number = [read_lines(path)], 1
    while any(numbered(path, later).exists() for later in (number, number + 1)):  # a turn leaves one gap for a moment
        turns.append(read_lines(numbered(path, number)))  # from the newest on, since a turn makes files older
        number += 1
    return [entry for entries in reversed(turns) for entry in entries]


def numbered(path: Path, number: int) -> Path:
    """What the newest file of such a log is called so many turns later."""
    return path.with_suffix(f".{number}{path.suffix}") if number else path


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Every whole entry of the file, none when there is no file; a line that a kill tore is left out."""
    found = []
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    for line in data.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            _LOG.warning("%s has a torn line", path)
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found
