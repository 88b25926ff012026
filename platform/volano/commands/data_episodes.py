"""`volano data ls`: the accepted episodes that a person means, from the catalogue."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from volano.commands.terminal import STORE, Json, Store, moment, places, print_json, require_store

if TYPE_CHECKING:
    import pyarrow as pa


def list_episodes(
    robot: Annotated[str, typer.Option("--robot", help="Of this robot.")] = "",
    task: Annotated[str, typer.Option("--task", help="Of this task.")] = "",
    instruction: Annotated[str, typer.Option("--instruction", help="With just this instruction.")] = "",
    embodiment: Annotated[str, typer.Option("--embodiment", help="Of robots with this tag.")] = "",
    outcome: Annotated[str, typer.Option("--outcome", help="success, failure or unknown.")] = "",
    source: Annotated[str, typer.Option("--source", help="Whose outcome this says: operator, script, judge ...")] = "",
    policy: Annotated[str, typer.Option("--policy", help="In which this policy acted; its first digits do.")] = "",
    rollout: Annotated[str, typer.Option("--rollout", help="Of this rollout.")] = "",
    arm: Annotated[str, typer.Option("--arm", help="Of this arm of a rollout.")] = "",
    since: Annotated[str, typer.Option("--since", help="Begun at this time or later, as 2026-11-26T07:00; UTC.")] = "",
    until: Annotated[str, typer.Option("--until", help="Begun before this time.")] = "",
    limit: Annotated[int, typer.Option("--limit", help="Tell of so many at most; all are counted.", min=0)] = 20,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """List accepted episodes, and count them, as of the last ingest."""
    from volano.data.catalogue_query import Query, find, summary
    from volano.data.recall import recalled
    from volano.storage.open import open_store

    require_store(store)
    query = Query(
        robot=robot,
        task=task,
        instruction=instruction,
        embodiment=embodiment,
        outcome=outcome,
        source=source,
        policy=policy,
        rollout=rollout,
        arm=arm,
        since=moment("--since", since, float("-inf")),
        until=moment("--until", until, float("inf")),
    )
    opened = open_store(store)
    found = list(find(opened, query))
    gone = recalled(opened)
    counted, shown = summary(found), [_entry(row, gone) for row in islice(_rows(found), limit)]
    if as_json:
        print_json({**counted, "listed": shown})
        return
    for entry in shown:
        print(_line(entry))
    if len(shown) < counted["episodes"]:
        print(f"... and {counted['episodes'] - len(shown)} more: raise --limit")
    print(
        f"{counted['episodes']} episodes of {len(counted['robots'])} robots, {counted['frames']} frames, "
        f"{counted['hours']:.1f} h, {counted['bytes'] / 1e9:.2f} GB: {store}"
    )
    print(f"next: {_next(shown)}{places(store=store)}")


def _rows(found: "list[pa.Table]") -> Iterator[dict[str, Any]]:
    for rows in found:
        for batch in rows.to_batches(max_chunksize=1000):
            yield from batch.to_pylist()


def _entry(row: dict[str, Any], gone: frozenset[str]) -> dict[str, Any]:
    return {**row, "recalled": row["content_id"] in gone}


def _line(entry: dict[str, Any]) -> str:
    began = datetime.fromtimestamp(entry["started_at"], UTC)
    ended = "success" if entry["success"] else "unknown" if entry["outcome_source"] == "repair" else "failure"
    marks = "".join(f", {mark}" for mark in ("readmitted", "recalled") if entry[mark])
    return (
        f"{entry['robot']}/{entry['attempt']}  {began:%Y-%m-%d %H:%M}  {entry['frames'] / entry['rate_hz']:6.1f} s  "
        f"{entry['task']}  {ended}, says the {entry['outcome_source']}{marks}"
    )


def _next(shown: list[dict[str, Any]]) -> str:
    if not shown:
        return "what was judged since the last ingest is not listed: volano data ingest"
    return f"volano data lineage {shown[0]['robot']}/{shown[0]['attempt']}"
