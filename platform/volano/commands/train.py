"""`volano train`: what a training run would need, the run itself, and how far one is."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from volano.commands.application import PASSED_ON, ask_application, run_application
from volano.commands.terminal import Json, print_json, print_table

app = typer.Typer(no_args_is_help=True, help="Training runs: planned, carried out, looked at.")
_GB = 1e9


@app.command(context_settings=PASSED_ON, add_help_option=False)
def run(context: typer.Context) -> None:
    """Train a policy; takes the arguments of `python -m jobs.train`, also --help."""
    raise run_application("jobs.train", context.args)


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="The run's folder.")],
    as_json: Json = False,
) -> None:
    """Say how far a run is, what its newest figures are, and what to do next."""
    from volano.train.progress import look

    found = look(folder, time.time())
    if as_json:
        print_json(asdict(found))
        return
    rows: dict[str, object] = {"recipe": found.recipe, "state": found.state}
    rows["step"] = f"{found.step} of {found.steps}"
    if found.at is not None:
        rows["newest point"] = datetime.fromtimestamp(found.at, UTC).isoformat(timespec="seconds")
    rows["checkpoint"] = found.checkpoint or "none yet"
    rows |= {f"changed at {when}": text for when, text in found.changes}
    print_table(rows)
    for name, value in found.metrics.items():
        print(f"  {name:24}{value:.4g}")
    print(f"next: {found.next}")


@app.command()
def plan(
    recipe: str,
    gpus: Annotated[int, typer.Option("--gpus", min=1, help="GPUs of the run, one worker on each.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="key=value", help="Changes to the recipe; assume.key=value to an assumption."),
    ] = None,
    gpu_memory_gb: Annotated[float, typer.Option("--gpu-memory-gb", min=1, help="Of each, in 10^9 bytes.")] = 80.0,
    as_json: Json = False,
) -> None:
    """Say what a training run would need before anybody pays for it: memory, traffic, time."""
    arguments = [recipe, "--gpus", str(gpus), "--gpu-memory-gb", str(gpu_memory_gb), *(overrides or ())]
    found = ask_application("jobs.plan", arguments)
    if as_json:
        print_json(found)
        return
    counted = found["weights"]
    print(
        f"{recipe}: {counted['expert'] + counted['backbone']:,} weights on {gpus} GPUs of {gpu_memory_gb:g} GB; "
        f"numbers are predictions, in GB of 10^9 bytes"
    )
    for stage in found["stages"]:
        print("\n".join(["", *_stage(stage)]))
    print("\nassumed (change one with assume.key=value)")
    for name, value in _flat(found["assumptions"]):
        print(f"  {name:24}{value}")
    print(f"next: volano train run {recipe} --help")


def _stage(stage: Mapping[str, Any]) -> Iterator[str]:
    yield f"stage {stage['name']}: {stage['share']} samples of a step on each GPU"
    yield "              on a GPU, whatever the batch                              of a sample      largest micro batch"
    yield "  ZeRO        weights  gradients  optimizer  average  update  reserve      kept  checkp.   kept    checkp."
    for whole, checkpointed in _pairs(stage["options"]):
        states = whole["states"]
        offload = whole["offload"]
        cells = [f"{states[key] / _GB:.1f}" for key in ("weights", "gradients")]
        cells += ["host" if offload else f"{states['optimizer'] / _GB:.1f}"]
        cells += [f"{states[key] / _GB:.1f}" for key in ("average", "update")] + [f"{whole['reserve'] / _GB:.1f}"]
        cells += [f"{option['activations_per_sample'] / _GB:.3f}" for option in (whole, checkpointed)]
        cells += [str(option["micro_batch"] or "none") for option in (whole, checkpointed)]
        widths = (7, 11, 11, 9, 8, 9, 10, 9, 7, 11)
        name = f"{whole['zero_stage']}{' offload' if offload else ''}"
        yield f"  {name:10}" + "  " + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    if stage["cannot"]:
        yield f"  cannot hold it: ZeRO {', '.join(map(str, stage['cannot']))}"
    chosen, configured, step = stage["chosen"], stage["configured"], stage["step"]
    passes = "one pass" if step["passes"] == 1 else f"{step['passes']} passes"
    yield (
        f"  chosen: {_way(chosen)}, {chosen['micro_batch']} samples in {passes}: {chosen['bytes'] / _GB:.1f} GB"
        + (f", and {chosen['states']['optimizer'] / _GB:.1f} GB of the host" if chosen["offload"] else "")
    )
    asked = -(-stage["share"] // stage["passes"])
    fits = "fits" if configured["micro_batch"] >= asked else "does not fit"
    how = "all in one pass" if stage["passes"] == 1 else f"in {stage['passes']} passes"
    yield f"  as the recipe says: {_way(configured)}, {how}: {configured['bytes'] / _GB:.1f} GB, {fits}"
    bound = "traffic" if step["traffic_s"] > step["compute_s"] else "computing"
    yield (
        f"  a step: {step['compute_s']:.3f} s of computing ({step['flops_per_sample'] / 1e12:.2f} TFLOP a sample), "
        f"{step['traffic_s']:.3f} s of traffic ({step['traffic'] / _GB:.1f} GB sent by each GPU)"
    )
    yield f"  expected, bound by {bound}: {stage['samples_per_s']:,.0f} samples/s, {stage['days']:.2f} days"


def _pairs(options: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each way without and with checkpointing."""
    with_it = {(o["zero_stage"], o["offload"]): o for o in options if o["checkpointing"]}
    for option in options:
        if not option["checkpointing"]:
            yield option, with_it[option["zero_stage"], option["offload"]]


def _way(option: Mapping[str, Any]) -> str:
    extras = [name for name in ("offload", "checkpointing") if option[name]]
    return " with ".join([f"ZeRO {option['zero_stage']}", *([" and ".join(extras)] if extras else [])])


def _flat(data: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value
