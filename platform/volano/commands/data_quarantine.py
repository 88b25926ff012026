"""`volano data quarantine`: uploads that were not believed, and the way back for those that a person believes."""

import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from volano.commands.terminal import (
    LEDGER,
    STORE,
    Json,
    Ledger,
    Store,
    ledger_if_any,
    places,
    print_json,
    print_table,
    require_store,
)
from volano.errors import Code, ConfigError

if TYPE_CHECKING:
    from volano.data.quarantine import Dossier

app = typer.Typer(no_args_is_help=True, help="Uploads that were not believed.")
Upload = Annotated[str, typer.Argument(help="ROBOT/ATTEMPT, or the upload's key.")]
Reason = Annotated[str, typer.Option("--reason", help="Why: it stands beside the data for good.")]
By = Annotated[str, typer.Option("--by", help="Who decides: it stands beside the data and in the audit log.")]
Contract = Annotated[
    list[Path] | None, typer.Option("--contract", metavar="FILE", help="Contract of a robot of your own.")
]
Plan = Annotated[bool, typer.Option("--plan", help="Say what would be done, and write nothing.")]


@app.callback()
def quarantine() -> None:
    """Uploads that were not believed."""


@app.command("ls")
def list_held(
    code: Annotated[str, typer.Option("--code", help="Of this finding only.")] = "",
    robot: Annotated[str, typer.Option("--robot", help="Of this robot only.")] = "",
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """List the uploads in quarantine, with code and evidence."""
    from volano.data.quarantine import held
    from volano.data.remedies import remedy
    from volano.storage.open import open_store

    require_store(store)
    if code and code not in set(Code):
        raise ConfigError(
            Code.CONFIG_VALUE, f"there is no code {code!r:.40}", "look at those that stand in the listing"
        )
    found = list(held(open_store(store), code=code, robot=robot))
    if as_json:
        print_json([{**asdict(one), "overrulable": remedy(one.code).overrulable} for one in found])
        return
    for one in found:
        print(f"{one.upload}  {one.code} {remedy(one.code).means}")
        print(f"    {one.evidence}")
    counted = ", ".join(f"{name}: {number}" for name, number in sorted(Counter(one.code for one in found).items()))
    print(f"{len(found)} in quarantine{f' ({counted})' if counted else ''}: {store}")
    if found:
        print(f"next: volano data quarantine show {_short(found[0].upload)}{places(store=store)}")
    else:
        print(f"next: volano data counts{places(store=store)}")


@app.command()
def show(upload: Upload, store: Store = STORE, as_json: Json = False) -> None:
    """Show one upload: what became of it and why, what can be done, what it is, and where its bytes are."""
    from volano.data.quarantine import dossier
    from volano.data.verdict import upload_key
    from volano.storage.open import open_store

    require_store(store)
    found = dossier(open_store(store), upload_key(upload))
    if as_json:
        print_json(_plain(found))
        return
    print_table(dict(_rows(found)))
    for file in found.files:
        there = f"{file.stored} bytes" if file.stored is not None else "not there"
        print(f"  {file.name}: {file.key}, {there}{'' if file.stored == file.size else f' of {file.size}'}")
    print(f"next: {_next(found)}{places(store=store)}")


@app.command()
def readmit(
    upload: Upload,
    reason: Reason,
    by: By = "operator",
    also: Annotated[list[str] | None, typer.Option("--also", help="Another finding's code to overrule.")] = None,
    contract: Contract = None,
    plan: Plan = False,
    store: Store = STORE,
    ledger: Ledger = LEDGER,
) -> None:
    """Let an upload in, against a finding that a person may overrule; every other check has to hold."""
    from volano.data.contracts import known_contracts
    from volano.data.readmission import readmission_key
    from volano.data.readmit import propose
    from volano.data.readmit import readmit as carry_out
    from volano.data.sandbox import Limits, check_bundles
    from volano.data.verdict import upload_key
    from volano.storage.open import open_store

    require_store(store)
    opened, key = open_store(store), upload_key(upload)
    proposed = propose(
        opened,
        key,
        also=also or (),
        reason=reason,
        by=by,
        now=time.time(),
        known=known_contracts(contract or ()),
        check=lambda bundles: check_bundles(bundles, Limits()),
    )
    where = f"{readmission_key(key)} in {store}"
    if plan:
        print(f"would readmit, against {', '.join(proposed.codes)}; every other check holds: {key}")
        print(f"would write {where}\nnext: the same without --plan")
        return
    with ledger_if_any(ledger) as audit:
        done = carry_out(opened, audit, proposed)
    print(f"readmitted by {done.by}, against {', '.join(done.codes)}: {key}")
    print(f"why, for good: {done.reason!r}, in {where}{'' if audit else '; no ledger, so no audit row'}")
    print(f"next: it counts as accepted, and the next version may hold it: volano data counts{places(store=store)}")


def _plain(found: "Dossier") -> dict[str, Any]:
    from volano.data.remedies import remedy

    code = found.verdict.code if found.verdict else ""
    return {**asdict(found), "stands": found.stands, "remedy": asdict(remedy(code)) if code else None}


def _rows(found: "Dossier") -> list[tuple[str, object]]:
    from volano.data.remedies import remedy

    rows: list[tuple[str, object]] = [("upload", found.upload), ("stands", found.stands)]
    if found.verdict is not None and found.verdict.code:
        known = remedy(found.verdict.code)
        rows += [("finding", f"{found.verdict.code}: {known.means}"), ("evidence", found.verdict.evidence)]
        rows += [("fix", known.fix)]
    if found.readmission is not None:
        one = found.readmission
        rows += [("readmitted", f"against {', '.join(one.codes)} by {one.by}: {one.reason}")]
        if found.owner != found.upload:
            rows += [("", "but without effect: repeat the command, or see who owns its content")]
    if found.owner not in {"", found.upload}:
        rows += [("counts as", found.owner)]
    if found.manifest is not None:
        rows += _summary(found)
    return rows


def _summary(found: "Dossier") -> list[tuple[str, object]]:
    one = found.manifest
    assert one is not None
    ended = f"{'success' if one.outcome.success else 'failure'}, says the {one.outcome.source}"
    return [
        ("content", one.content_id),
        ("robot", f"{one.robot}, a {one.embodiment}"),
        ("task", f"{one.task}: {one.instruction!r}"),
        ("length", f"{one.frames} ticks at {one.rate_hz:g} Hz"),
        ("segments", ", ".join(f"{part.kind} {part.start}-{part.end}" for part in one.segments)),
        ("outcome", ended),
        ("policies", ", ".join(digest[:12] for digest in one.policies) or "none"),
    ]


def _next(found: "Dossier") -> str:
    from volano.data.remedies import remedy

    if found.stands == "in flight":
        return "volano data ingest"
    if found.stands == "quarantined" and found.verdict is not None and remedy(found.verdict.code).overrulable:
        return f'volano data quarantine readmit {_short(found.upload)} --plan --reason "WHY"'
    if found.stands == "quarantined":
        return "do what the fix says, then: volano data quarantine ls"
    return f"volano data lineage {_short(found.upload)}"


def _short(upload: str) -> str:
    return upload.removeprefix("uploads/").removesuffix(".json")
