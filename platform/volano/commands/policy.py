"""`volano policy`: trained policies as folders, and their signatures."""

from pathlib import Path
from typing import Annotated

import typer

from volano.commands.terminal import Json, print_json, print_table

app = typer.Typer(no_args_is_help=True, help="Policy folders and their signatures.")


@app.callback()
def policy() -> None:
    """Policy folders and their signatures."""


@app.command()
def verify(
    folder: Path,
    key: Annotated[list[Path], typer.Option("--key", help="Public key that is trusted; may be given again.")],
    expected: Annotated[str | None, typer.Option("--digest", help="The policy it must be.")] = None,
    as_json: Json = False,
) -> None:
    """Check that a policy folder is, byte for byte, what a trusted key signed."""
    from dataclasses import asdict

    from volano.registry.release import verify_folder
    from volano.registry.signing import load_public_key

    manifest = verify_folder(folder, [load_public_key(path) for path in key], expected)
    if as_json:
        print_json({"digest": manifest.digest, **asdict(manifest)})
        return
    lineage = manifest.lineage
    print(f"verified: {folder}")
    print_table(
        {
            "digest": manifest.digest,
            "files": f"{len(manifest.files)}, {sum(entry.size for entry in manifest.files.values())} bytes",
            "embodiments": ", ".join(manifest.embodiments),
            "trained on": ", ".join(version[:12] for version in lineage.dataset_versions) or "no dataset",
            "code": lineage.code_revision,
            "parent": lineage.parent[:12] or "none",
            "evaluation": lineage.evaluation[:12] or "none",
        }
    )
