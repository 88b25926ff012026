"""`volano data materialize`: a dataset version as folders, which stock LeRobot opens."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from volano.commands.terminal import STORE, Store, require_store


def materialize(
    version: Annotated[str, typer.Option("--version", help="The dataset version's digits, or the first of them.")],
    output: Annotated[Path, typer.Option("--output", help="Where its folders go; right files that are there stay.")],
    store: Store = STORE,
) -> None:
    """Copy a dataset version out of the store, each file verified: one LeRobotDataset v3 per robot."""
    from volano.data.recall import refuse_recalled
    from volano.data.version import load, meant
    from volano.data.version import materialize as bring
    from volano.storage.open import open_store

    require_store(store)
    opened = open_store(store)
    version = meant(opened, version)
    refuse_recalled(opened, load(opened, version))
    found = bring(opened, version, output)
    print(f"{len(found.files)} files are in {output}, one folder per robot")
    for tag in found.embodiments:
        print(f"next: LeRobotDataset({tag!r}, root={shlex.quote(str(output.absolute() / tag))!r})")
