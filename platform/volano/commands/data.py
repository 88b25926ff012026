"""`volano data`: uploads, episodes and dataset versions."""

import typer

from volano.commands.application import PASSED_ON, run_application
from volano.commands.terminal import Json, Store, print_json, print_table

app = typer.Typer(no_args_is_help=True, help="Uploads, episodes and dataset versions.")


@app.callback()
def data() -> None:
    """Uploads, episodes and dataset versions."""


@app.command(context_settings=PASSED_ON, add_help_option=False)
def ingest(context: typer.Context) -> None:
    """Judge every new upload; takes the arguments of `python -m pipelines.ingest`, also --help."""
    raise run_application("pipelines.ingest", context.args)


@app.command()
def counts(store: Store, as_json: Json = False) -> None:
    """Count uploads by what became of them: uploaded = accepted + quarantined + rejected + in flight."""
    from dataclasses import asdict

    from volano.data.conservation import count
    from volano.storage.open import open_store

    found = asdict(count(open_store(store)))
    if as_json:
        print_json(found)
        return
    print_table({name: _by_code(value) for name, value in found.items()})
    if found["in_flight"]:
        print(f"next: volano data ingest --store {store}")


def _by_code(value: object) -> object:
    if not isinstance(value, dict):
        return value
    each = ", ".join(f"{code}: {number}" for code, number in value.items())
    return f"{sum(value.values())}  ({each})" if each else 0
