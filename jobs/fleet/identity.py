"""A simulated robot's key on its own disk; read without what enrolling it needs."""

from pathlib import Path

KEY_FILE = "key"


def read_key(robot: Path) -> str:
    """The key of the robot with this folder."""
    return (robot / KEY_FILE).read_text().strip()
