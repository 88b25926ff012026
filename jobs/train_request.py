"""What a training is asked for, as its command and its workers both know it; it imports nothing of either."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What to train, on what, and where."""

    recipe: str
    overrides: tuple[str, ...] = ()
    store: str
    version: str
    """Identifier of a dataset version in the store."""
    output: str
    """Folder of the run, shared by all workers."""
    parent: str = ""
    """Folder of the policy to start from; empty starts from random weights."""
    workers: int = 2
