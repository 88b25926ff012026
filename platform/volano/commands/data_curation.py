"""`volano data curate` and `volano data curation`: which episodes the next version holds, how often, and why."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volano.commands.application import run_application
from volano.commands.terminal import STORE, Json, Store, places, print_json, print_table, require_store
from volano.errors import Code, ConfigError

if TYPE_CHECKING:
    from volano.data.curation.config import Curation
    from volano.data.curation.plan import Decision, Plan

app = typer.Typer(no_args_is_help=True, help="Plans of curations, episode by episode.")


@app.callback()
def curation() -> None:
    """Plans of curations, episode by episode."""


def curate(
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="key=value", help="Changes to the configuration.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="JSON file with thresholds and weights.")] = None,
    parent: Annotated[
        str, typer.Option("--parent", help="Version that gets the child, or its first digits; the newest if none.")
    ] = "",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Most actors that decode at the same time.")] = 2,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be done; features alone are stored.")] = False,
    contract: Annotated[
        list[Path] | None, typer.Option("--contract", metavar="FILE", help="Contract of a robot of your own.")
    ] = None,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Decide which accepted episodes the next version holds, how often each is drawn and which ticks are skipped;
    commit the plan, and the version that it makes."""
    from volano.data.contracts import known_contracts
    from volano.data.curation.carry_out import carry_out, propose, to_curate
    from volano.data.curation.make import missing
    from volano.data.version import meant
    from volano.storage.open import open_store

    require_store(store)
    asked = _config(config, changes or [])
    files = contract or []
    known = known_contracts(files)
    opened = open_store(store)
    parent = meant(opened, parent) if parent else ""
    manifests = to_curate(opened)
    if missing(opened, manifests):
        own = [f"--contract={path.resolve()}" for path in files]
        ended = run_application("pipelines.curate", ["--store", opened.url, "--workers", str(workers), *own])
        if ended.exit_code:
            raise ended
    found = propose(opened, manifests, asked, known)
    version = "" if plan else carry_out(opened, found, parent=parent, known=known).id
    if as_json:
        print_json({"plan": found.id, "version": version, "planned": plan, **_as_json(found)})
        return
    _tell(found, planned=plan)
    if plan:
        print("next: the same without --plan")
        return
    print(f"plan      {found.id}")
    print(f"version   {version}")
    print(f"next: volano data curation show {found.id}{places(store=store)}")


@app.command()
def show(
    plan: Annotated[str, typer.Argument(help="A plan's 64 digits, or the first of them.")],
    episode: Annotated[str, typer.Option("--episode", help="One content's digits: why it stays or goes.")] = "",
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Say what a plan keeps, drops and reweights, by rule; or why it does so with one episode."""
    from volano.data.curation.plan import load
    from volano.data.verdict import owner
    from volano.storage.open import open_store

    require_store(store)
    opened = open_store(store)
    found = load(opened, plan)
    if not episode:
        if as_json:
            print_json({"plan": found.id, **_as_json(found)})
            return
        _tell(found, planned=False)
        example = next(iter(found.decisions)).content_id if found.decisions else ""
        print(f"next: volano data curation show {plan} --episode {example}{places(store=store)}")
        return
    one = found.decision(episode)
    upload = owner(opened, one.content_id)
    if as_json:
        print_json({"plan": found.id, "upload": upload, "keep": one.keep, **asdict(one)})
        return
    _explain(one, upload)
    print(f"next: volano data lineage {one.content_id}{places(store=store)}")


def _config(file: Path | None, changes: list[str]) -> "Curation":
    from volano.config import apply, load_json
    from volano.data.curation.config import Curation
    from volano.data.text import strict_json

    if file is None:
        return apply(Curation(), changes)
    try:
        data = strict_json(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        cause = f"{file} is no readable JSON: {error}"
        raise ConfigError(Code.CONFIG_VALUE, cause, 'write keys and values, as {"floor": 2}') from error
    return apply(load_json(Curation, data), changes)


def _as_json(plan: "Plan") -> dict[str, object]:
    listing = [{"keep": one.keep, **asdict(one)} for one in plan.decisions]
    return {"config": asdict(plan.config), "inputs": plan.inputs, "counts": plan.counts(), "decisions": listing}


def _tell(plan: "Plan", *, planned: bool) -> None:
    would = "would be " if planned else ""
    kept = plan.kept.values()
    print(f"{len(kept)} of {len(plan.decisions)} episodes {would}kept")
    for rule, number in plan.counts().items():
        print(f"  {rule:16}{number:6}")
    heavier = sum(one.weight > 1 for one in kept)
    skipped = sum(end - start for one in kept for start, end in one.skipped)
    print(f"{heavier} {would}drawn more often, {skipped} ticks {would}skipped in which nothing moves")
    for one in kept:
        if one.rule == "floor":
            print(f"stays {one.content_id}: {one.reason}")


def _explain(one: "Decision", upload: str) -> None:
    print_table(
        {
            "episode": one.content_id,
            "upload": upload or "unknown",
            "task": one.task,
            "stands": f"kept, weight {one.weight:g}" if one.keep else "dropped",
            "rule": one.rule,
            "why": one.reason,
            "skipped": ", ".join(f"[{start}, {end})" for start, end in one.skipped) or "no tick",
        }
    )
    for name, value in one.scores.items():
        print(f"  {name:14}{value:.4g}")
