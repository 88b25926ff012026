"""The `volano` command: noun, then verb. Every import that costs anything stands inside its verb.

Each command ends with what happened, where it is and what to do next; errors are a code, a cause and a fix on
standard error, with the exit code of their kind.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from volano import __version__
from volano.errors import VolanoError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
data = typer.Typer(no_args_is_help=True, help="Uploads, episodes and dataset versions.")
robot = typer.Typer(no_args_is_help=True, help="Robots and their contracts.")
app.add_typer(data, name="data")
app.add_typer(robot, name="robot")

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Store = Annotated[str, typer.Option(help="A folder, or s3://bucket/prefix?endpoint=http://host:port.")]


@app.callback()
def volano() -> None:
    """Turn a fleet's attempts into its next policy."""


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


@data.command("counts")
def data_counts(store: Store, as_json: Json = False) -> None:
    """Count uploads by what became of them; uploaded = accepted + quarantined + rejected + in flight."""
    import json
    from dataclasses import asdict

    from volano.data.conservation import count
    from volano.storage.open import open_store

    counts = asdict(count(open_store(store)))
    if as_json:
        print(json.dumps(counts, sort_keys=True))
        return
    for name, value in counts.items():
        print(f"{name:12} {value}")
    print(f"next: python -m pipelines.ingest --store {store}")


@robot.command("ls")
def robot_list(as_json: Json = False) -> None:
    """List the shipped embodiments."""
    import json

    from volano.embodiment.shipped import SHIPPED

    if as_json:
        print(json.dumps({tag: shipped.fingerprint for tag, shipped in sorted(SHIPPED.items())}))
        return
    for tag, shipped in sorted(SHIPPED.items()):
        channels = ", ".join(channel.name for channel in shipped.action)
        print(f"{tag:8} {shipped.family:13} {shipped.rate_hz:4g} Hz  {channels}")
    print("next: volano robot contract TAG")


@robot.command("contract")
def robot_contract(tag: str) -> None:
    """Print an embodiment's contract as JSON: what robot, dataset and policy must share."""
    import json

    from volano.embodiment.shipped import shipped

    print(json.dumps(shipped(tag).to_json(), indent=1, sort_keys=True))


@app.command()
def doctor(
    folder: Annotated[Path, typer.Option(help="Folder to probe as an object store.")] = Path(),
    as_json: Json = False,
) -> None:
    """Check this machine: packages, video, rendering, storage, disk and memory."""
    import json

    from volano.doctor import examine

    findings = examine(folder)
    if as_json:
        print(json.dumps([finding.__dict__ for finding in findings]))
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.ok else 'FAIL'} {finding.name:12} {finding.detail}")
            if not finding.ok:
                print(f"     fix: {finding.fix}")
        print("all good" if all(finding.ok for finding in findings) else "some checks failed; see the fixes above")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(3)


def main() -> None:
    """Run the command; a VolanoError becomes its code, cause and fix."""
    try:
        app()
    except VolanoError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
