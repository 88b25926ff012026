"""`volano model`: what a recipe's network is."""

from typing import Annotated

import typer

from volano.commands.application import ask_application
from volano.commands.terminal import Json, print_json

app = typer.Typer(no_args_is_help=True, help="What a recipe's network is.")


@app.callback()
def model() -> None:
    """What a recipe's network is."""


@app.command()
def params(
    recipe: str,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="key=value", help="Changes to the recipe.")] = None,
    as_json: Json = False,
) -> None:
    """Count its weights, part by part."""
    found = ask_application("jobs.model", ["params", recipe, *(overrides or ())])
    if as_json:
        print_json(found)
        return
    for title in ("expert", "backbone"):
        rows = [(name, part["matrices"], part["vectors"]) for name, part in found[title].items()]
        rows.append(("total", sum(row[1] for row in rows), sum(row[2] for row in rows)))
        print(f"{title:20}{'matrices':>16}{'vectors':>12}{'together':>16}")
        for name, matrices, vectors in rows:
            print(f"  {name:18}{matrices:>16,}{vectors:>12,}{matrices + vectors:>16,}")
    print(f"next: volano train run {recipe} --help")
