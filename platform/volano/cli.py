"""The `volano` command: noun, then verb. A noun is a module in `volano.commands`; here they are put together.

Every import that costs anything stands inside its verb, so that help comes at once. Each command ends with what
happened, where it is and what to do next; errors are a code, a cause and a fix on standard error.
"""

import sys
import traceback
from typing import Annotated

import typer

from volano import __version__
from volano.commands import (
    audit,
    convert,
    data,
    evaluation,
    experiment,
    hold,
    model,
    policy,
    repair,
    robot,
    rollout,
    serve,
    train,
    upload,
)
from volano.commands.application import PASSED_ON, run_application
from volano.commands.terminal import Json, Session, print_error, print_json

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
app.add_typer(robot.app, name="robot")
data.app.command()(convert.convert)
app.add_typer(data.app, name="data")
data.app.command()(repair.repair)
data.app.command()(upload.upload)
app.add_typer(model.app, name="model")
app.add_typer(train.app, name="train")
app.add_typer(policy.app, name="policy")
app.add_typer(serve.app, name="serve")
app.add_typer(evaluation.app, name="eval")
app.add_typer(experiment.app, name="experiment")
app.add_typer(rollout.app, name="rollout")
app.add_typer(audit.app, name="audit")
app.command()(hold.stop)
app.command()(hold.resume)


@app.callback()
def volano(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Turn a fleet's attempts into its next policy."""
    context.ensure_object(Session).debug = debug


@app.command()
def version(as_json: Json = False) -> None:
    """Print the version."""
    if as_json:
        print_json({"version": __version__})
    else:
        print(__version__)


@app.command()
def doctor(
    store: Annotated[str, typer.Option("--store", envvar="VOLANO_STORE", help="Object store to probe.")] = ".",
    as_json: Json = False,
) -> None:
    """Check this machine: packages, video, rendering, storage, disk and memory."""
    from dataclasses import asdict

    from volano.doctor import examine

    findings = examine(store)
    healthy = all(finding.ok for finding in findings)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            print(f"{'ok     ' if finding.ok else 'missing'}  {finding.name:12}  {finding.detail}")
            if not finding.ok:
                print(f"         fix: {finding.fix}")
        print("everything is there" if healthy else "something is missing; its fix stands below it")
    if not healthy:
        raise typer.Exit(3)


@app.command(context_settings=PASSED_ON, add_help_option=False)
def demo(context: typer.Context) -> None:
    """Turn the flywheel twice on this machine; takes the arguments of `python -m jobs.flywheel`, also --help."""
    raise run_application("jobs.flywheel", context.args)


def main() -> None:
    """Run the command. Exit codes: 0 ok, 1 failed, 2 usage, 3 precondition, 4 gate, 5 verification, 7 unavailable."""
    session = Session()
    try:
        app(obj=session)
    except Exception as error:
        if session.debug:
            traceback.print_exception(error)
        sys.exit(print_error(error, as_json="--json" in sys.argv[1:]))
