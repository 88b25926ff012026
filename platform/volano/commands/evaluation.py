"""`volano eval`: run evaluations in simulation, show them, and ask the gate."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volano.commands.application import PASSED_ON, run_application
from volano.commands.terminal import Json, print_json
from volano.errors import Code, EvaluationError, GateError

if TYPE_CHECKING:
    from volano.evaluate.report import Evaluation

app = typer.Typer(no_args_is_help=True, help="Evaluations in simulation, and the gate before a release.")
_APPLICATION = "jobs.evaluate"


@app.callback()
def evaluation() -> None:
    """Evaluations in simulation, and the gate before a release."""


@app.command(context_settings=PASSED_ON, add_help_option=False)
def run(context: typer.Context) -> None:
    """Evaluate a policy folder; takes the arguments of `python -m jobs.evaluate`, also --help."""
    raise run_application(_APPLICATION, context.args)


@app.command()
def show(report: Path, as_json: Json = False) -> None:
    """Show an evaluation: successes with intervals, and the policy against each baseline."""
    from volano.evaluate.report import summary, table

    found = read_evaluation(report)
    if as_json:
        print_json(summary(found))
        return
    print(f"policy {found.policy[:12]} on the pool `{found.pool}`, evaluation {found.digest[:12]}")
    print(table(found))
    print(f"next: volano eval gate {shlex.quote(str(report))}")


@app.command()
def gate(
    report: Path,
    current: Annotated[Path | None, typer.Option("--current", help="Evaluation of the policy in place.")] = None,
    as_json: Json = False,
) -> None:
    """Judge a candidate's evaluation; exit code 4 when it is refused."""
    from dataclasses import asdict

    from volano.flywheel.gate import decide

    decision = decide(read_evaluation(report), read_evaluation(current) if current else None)
    if as_json:
        print_json(asdict(decision))
    else:
        for criterion in decision.criteria:
            print(f"{'met    ' if criterion.met else 'not met'}  {criterion.name}: {criterion.found}")
            print(f"         needed: {criterion.needed}")
        print(f"{decision.verdict.replace('_', ' ')}: {decision.reason}")
    if not decision.passed:
        raise GateError(
            Code.GATE_REFUSED,
            f"policy {decision.candidate[:12]} is refused: {decision.reason}",
            "train on more or better data; the policy in place stays",
        )
    if not as_json:
        print(f"next: volano policy describe FOLDER --evaluation {report}")


def read_evaluation(path: Path) -> "Evaluation":
    """An evaluation's file; raises EvaluationError(E-EVALUATE-001) for anything else."""
    from volano.evaluate.report import Evaluation

    try:
        data = path.read_bytes()
    except OSError as error:
        raise EvaluationError(
            Code.EVALUATION_FORMAT, f"{path} cannot be read: {error.strerror}", "name the output of jobs.evaluate"
        ) from error
    return Evaluation.from_bytes(data)
