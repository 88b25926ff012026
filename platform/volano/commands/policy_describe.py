"""`volano policy describe`: what a training exported becomes a policy that somebody can vouch for."""

from pathlib import Path
from typing import Annotated

import typer

from volano.commands.application import ROOT
from volano.commands.evaluation import read_evaluation
from volano.commands.terminal import Json, print_json

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder `policy` of a training's output.")]
Report = Annotated[
    Path | None, typer.Option("--evaluation", metavar="FILE", help="What `volano eval run` wrote about it.")
]


def describe(folder: Folder, evaluation: Report = None, as_json: Json = False) -> None:
    """Write a trained policy's manifest: its files, its robots, its data, code and evaluation. Then release it."""
    from volano.registry.describe import code_revision, lineage_of, parent_of
    from volano.registry.describe import describe as write
    from volano.registry.manifest import MANIFEST, malformed
    from volano.registry.release import digest

    if not folder.is_dir():
        raise malformed(f"there is no folder {folder}", "name the folder `policy` of a training's output")
    report = read_evaluation(evaluation) if evaluation else None
    parent = parent_of(folder)
    if parent and not (Path(parent) / MANIFEST).is_file():
        raise malformed(f"it went on from {parent}, which nobody described", f"first volano policy describe {parent}")
    lineage = lineage_of(folder, report, digest(Path(parent)) if parent else "", code_revision(ROOT))
    manifest = write(folder, lineage)
    if as_json:
        print_json({"digest": manifest.digest, "manifest": str(folder / MANIFEST)})
        return
    print(f"described: {manifest.digest}")
    print(f"    serves {', '.join(manifest.embodiments)}; {folder / MANIFEST}")
    if report is None:
        print("    not evaluated: volano eval run, then describe it again without its manifest, to name the evaluation")
    print(f"next: volano policy release {folder} --by NAME")
