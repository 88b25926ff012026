"""`volano experiment`: what the parts of the method are worth, measured."""

import typer

from volano.commands.application import PASSED_ON, run_application

app = typer.Typer(no_args_is_help=True, help="What the parts of the method are worth, measured.")


@app.callback()
def experiment() -> None:
    """What the parts of the method are worth, measured."""


@app.command(context_settings=PASSED_ON, add_help_option=False)
def ablations(context: typer.Context) -> None:
    """Train and evaluate without each part; takes the arguments of `python -m jobs.experiment`, also --help."""
    raise run_application("jobs.experiment", context.args)
