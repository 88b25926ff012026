"""`volano policy`: what was released, trained policies as folders, and their signatures."""

from pathlib import Path
from typing import Annotated

import typer

from volano.commands.terminal import LEDGER, Json, Ledger, places, print_json, print_table, require_ledger

app = typer.Typer(no_args_is_help=True, help="Released policies, policy folders and their signatures.")


@app.callback()
def policy() -> None:
    """Policy folders and their signatures."""


@app.command("ls")
def list_policies(ledger: Ledger = LEDGER, as_json: Json = False) -> None:
    """List the released policies, what they serve, and which are in place."""
    import json

    from volano.ledger.ledger import open_ledger

    require_ledger(ledger)
    with open_ledger(ledger) as opened:
        policies, current = opened.policies(), opened.current_policies()
    found = []
    for policy in policies:
        plain = json.loads(policy.manifest)
        found.append(
            {
                "digest": policy.digest,
                "version": policy.version,
                "status": policy.status,
                "embodiments": sorted(plain["embodiments"]),
                "in_place": sorted(
                    tag for tag, one in plain["embodiments"].items() if current.get(one) == policy.digest
                ),
                "trained_on": plain["lineage"]["dataset_versions"],
                "evaluation": plain["lineage"]["evaluation"],
            }
        )
    if as_json:
        print_json(found)
        return
    for one in found:
        place = f"in place for {', '.join(one['in_place'])}" if one["in_place"] else "in place nowhere"
        print(f"{one['digest']}  version {one['version']}, {one['status']}")
        print(f"    serves {', '.join(one['embodiments'])}; {place}")
    newest = found[-1]["digest"][:12] if found else ""
    print(f"next: volano rollout new NAME {newest}{places(ledger=ledger)}" if found else "no policy was released yet")


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
