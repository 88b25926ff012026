"""`volano audit`: everything that was done to robots, policies and rollouts, in a chain that shows tampering."""

import re
from typing import Annotated

import typer

from volano.commands.terminal import LEDGER, Json, Ledger, places, print_json, require_ledger
from volano.errors import Code, ConfigError, LedgerError

app = typer.Typer(no_args_is_help=True, help="The record of every change, and the proof that it is whole.")


@app.callback()
def audit() -> None:
    """The record of every change, and the proof that it is whole."""


@app.command("verify")
def verify_chain(
    ledger: Ledger = LEDGER,
    head: Annotated[str, typer.Option("--head", help="Last digest as noted elsewhere: rows cut off are noticed.")] = "",
    as_json: Json = False,
) -> None:
    """Check that no audit row was changed, removed, inserted or reordered."""
    from volano.ledger.audit import GENESIS, verify
    from volano.ledger.ledger import open_ledger

    require_ledger(ledger)
    with open_ledger(ledger) as opened:
        rows = list(opened.audit())
    verify(rows)
    last = rows[-1].digest if rows else GENESIS
    _require_known(head, {GENESIS, *(row.digest for row in rows)})
    if as_json:
        print_json({"rows": len(rows), "head": last})
        return
    print(f"the chain of {len(rows)} rows holds: {ledger}")
    again = f"volano audit verify --head {last}{places(ledger=ledger)}"
    print(f"next: note its head elsewhere, and check against it: {again}")


def _require_known(head: str, digests: set[str]) -> None:
    if head and not re.fullmatch("[0-9a-f]{64}", head):
        raise ConfigError(Code.CONFIG_VALUE, f"--head {head!r} is no digest", "give the 64 hex digits that were noted")
    if head and head not in digests:
        raise LedgerError(
            Code.LEDGER_CHAIN,
            f"the audit chain no longer has the row {head[:12]}: rows were cut off",
            "stop rollouts, keep this ledger as evidence and compare it with its backup",
        )
