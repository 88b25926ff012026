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


Parent = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="The policy that training went on from, if it lies elsewhere now.")
]
Revision = Annotated[
    str,
    typer.Option("--code", metavar="REVISION", help="Of the code that trained it; this checkout's if none is named."),
]


def describe(
    folder: Folder, evaluation: Report = None, parent: Parent = None, code: Revision = "", as_json: Json = False
) -> None:
    """Write a trained policy's manifest: its files, its robots, its data, code and evaluation. Then release it."""
    from volano.registry.describe import code_revision, lineage_of, parent_of
    from volano.registry.describe import describe as write
    from volano.registry.manifest import MANIFEST, malformed
    from volano.registry.release import digest

    if not folder.is_dir():
        raise malformed(f"there is no folder {folder}", "name the folder `policy` of a training's output")
    report = read_evaluation(evaluation) if evaluation else None
    before, went_on = parent, parent_of(folder)
    if went_on and before is None:
        before = Path(went_on)
    if before is not None and not (before / MANIFEST).is_file():
        fix = f"first volano policy describe {before}; if it lies elsewhere now, name it with --parent"
        raise malformed(f"it went on from {before}, which nobody described", fix)
    lineage = lineage_of(folder, report, digest(before) if before else "", code or code_revision(ROOT))
    manifest = write(folder, lineage)
    if as_json:
        print_json({"digest": manifest.digest, "manifest": str(folder / MANIFEST)})
        return
    print(f"described: {manifest.digest}")
    print(f"    serves {', '.join(manifest.embodiments)}; code {lineage.code_revision[:12]}; {folder / MANIFEST}")
    if report is None:
        print("    not evaluated: volano eval run, then describe it again without its manifest, to name the evaluation")
    print(f"next: volano policy release {folder} --by NAME")
