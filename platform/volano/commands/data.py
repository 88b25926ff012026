"""`volano data`: uploads, episodes and dataset versions."""

import shlex

import typer

from volano.commands import (
    data_curation,
    data_episodes,
    data_export,
    data_lineage,
    data_materialize,
    data_quarantine,
    data_recall,
    data_statistics,
)
from volano.commands.application import PASSED_ON, run_application
from volano.commands.terminal import STORE, Json, Store, places, print_json, print_table, require_store

app = typer.Typer(no_args_is_help=True, help="Uploads, episodes and dataset versions.")
app.add_typer(data_quarantine.app, name="quarantine")
app.add_typer(data_curation.app, name="curation")
app.command()(data_curation.curate)
app.command("ls")(data_episodes.list_episodes)
app.command()(data_materialize.materialize)
app.command()(data_lineage.lineage)
app.command()(data_lineage.diff)
app.command()(data_recall.recall)
app.command()(data_export.export)
app.command()(data_statistics.statistics)


@app.callback()
def data() -> None:
    """Uploads, episodes and dataset versions."""


@app.command(context_settings=PASSED_ON, add_help_option=False)
def ingest(context: typer.Context) -> None:
    """Judge every new upload; takes the arguments of `python -m pipelines.ingest`, also --help."""
    raise run_application("pipelines.ingest", context.args)


@app.command()
def counts(store: Store = STORE, as_json: Json = False) -> None:
    """Count uploads by what became of them: uploaded = accepted + quarantined + rejected + in flight."""
    from dataclasses import asdict

    from volano.data.conservation import count
    from volano.storage.open import open_store

    require_store(store)
    found = asdict(count(open_store(store)))
    if as_json:
        print_json(found)
        return
    print_table({name: _by_code(value) for name, value in found.items()})
    print(
        f"next: volano data ingest --store {shlex.quote(store)}"
        if found["in_flight"]
        else f"next: volano data versions{places(store=store)}"
    )


@app.command()
def versions(store: Store = STORE, as_json: Json = False) -> None:
    """List the dataset versions, parents before children."""
    from volano.data.history import history
    from volano.storage.open import open_store

    require_store(store)
    found = history(open_store(store)).heads
    if as_json:
        print_json(
            [
                {
                    "id": version.id,
                    "parent": version.parent,
                    "reason": version.reason,
                    "episodes": version.episodes,
                    "embodiments": list(version.embodiments),
                }
                for version in found
            ]
        )
        return
    for version in found:
        print(f"{version.id}  {version.episodes} episodes of {', '.join(version.embodiments)}")
        print(f"    {version.reason}, parent {version.parent[:12] or 'none'}")
    if found:
        print(f"next: volano train run nano --store {shlex.quote(store)} --version {found[-1].id} --output run")
    else:
        print("no version yet: the flywheel makes one, and so does volano data curate")


def _by_code(value: object) -> object:
    if not isinstance(value, dict):
        return value
    each = ", ".join(f"{code} {_named(code)}: {number}" for code, number in value.items())
    return f"{sum(value.values())}  ({each})" if each else 0


def _named(code: str) -> str:
    """What a code stands for, in words."""
    from volano.errors import Code

    return Code(code).name.removeprefix("DATA_").replace("_", " ").lower() if code in set(Code) else "unknown"
