"""`volano audit`: everything that was done to robots, policies and rollouts, in a chain that shows tampering."""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volano.commands.policy_keys import KEYS, ROOT, Keys, Root
from volano.commands.terminal import (
    LEDGER,
    STORE,
    Json,
    Ledger,
    Store,
    places,
    print_json,
    require_ledger,
    require_store,
)
from volano.errors import Code, ConfigError, LedgerError

if TYPE_CHECKING:
    from volano.ledger.checkpoint import Checkpoint

app = typer.Typer(no_args_is_help=True, help="The record of every change, and the proof that it is whole.")


@app.callback()
def audit() -> None:
    """The record of every change, and the proof that it is whole."""


@app.command("verify")
def verify_chain(
    context: typer.Context,
    ledger: Ledger = LEDGER,
    head: Annotated[str, typer.Option("--head", help="Last digest as noted elsewhere: rows cut off are noticed.")] = "",
    root: Root = ROOT,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Check that no audit row was changed, removed, inserted, reordered or cut off, by the chain and by its signed
    checkpoints in the store."""
    from volano.ledger.audit import GENESIS
    from volano.ledger.checkpoint import verify_against
    from volano.ledger.ledger import open_ledger

    require_ledger(ledger)
    sources = [context.get_parameter_source(option) for option in ("root", "store")]
    named = any(source is not None and source.name != "DEFAULT" for source in sources)
    checkpoints, unchecked = _checkpoints(root, store, ledger, named)
    with open_ledger(ledger) as opened:  # after the checkpoints: what they sign is there by now
        rows = list(opened.audit())
    uncovered = verify_against(rows, checkpoints)
    last = rows[-1].digest if rows else GENESIS
    _require_known(head, {GENESIS, *(row.digest for row in rows)})
    if as_json:
        print_json({"rows": len(rows), "head": last, "checkpoints": len(checkpoints), "uncovered": uncovered})
    else:
        print(f"the chain of {len(rows)} rows holds: {ledger}")
    if unchecked:
        raise LedgerError(
            Code.AUDIT_CHECKPOINT, f"{unchecked} checkpoints in {store} were not checked", "name --store and --root"
        )
    if not as_json:
        _propose(len(checkpoints), uncovered, last, store, ledger)


def _propose(checkpoints: int, uncovered: int, last: str, store: str, ledger: str) -> None:
    if checkpoints:
        print(f"{checkpoints} signed checkpoints hold; the last {uncovered} rows have none yet")
        print(f"next: sign those too: volano audit checkpoint{places(store=store, ledger=ledger)}")
        return
    again = f"volano audit verify --head {last}{places(ledger=ledger)}"
    print(f"there is no checkpoint\nnext: note its head elsewhere, and check against it: {again}")


@app.command()
def checkpoint(keys: Keys = KEYS, ledger: Ledger = LEDGER, store: Store = STORE) -> None:
    """Sign all that stands in the audit log with the director's key, into the store. A gateway does it, every 100 rows
    and every hour."""
    from volano.ledger.checkpoints import Checkpoints
    from volano.ledger.ledger import open_ledger
    from volano.registry.ceremony import directors_since
    from volano.registry.keys import DIRECTOR
    from volano.registry.keys import Keys as Signers
    from volano.registry.trust import read_anchor
    from volano.storage.open import open_store

    require_ledger(ledger)
    signers, opened_store = Signers(folder=keys), open_store(store)
    maker = Checkpoints(opened_store, signers.key(DIRECTOR), directors_since(opened_store, read_anchor(signers.anchor)))
    with open_ledger(ledger) as opened:
        covered = maker.advance(opened, time.time(), all_rows=True)
    print(f"signed: the first {covered} rows, in {store}")
    print(f"next: volano audit verify --root {signers.anchor}{places(store=store, ledger=ledger)}")


def _checkpoints(root: Path, store: str, ledger: str, named: bool) -> "tuple[tuple[Checkpoint, ...], int]":
    """Those in the store, and how many there cannot be checked: where neither root nor store was `named`, what is at
    the default place may belong to another ledger."""
    from volano.ledger.checkpoint import read_checkpoints
    from volano.ledger.checkpoints import stored
    from volano.registry.ceremony import directors_since
    from volano.registry.trust import read_anchor
    from volano.storage.open import open_store

    if not named and not Path(store).is_dir():
        return (), 0
    require_store(store)
    opened = open_store(store)
    if not named and (ledger != LEDGER or not root.exists()):
        return (), sum(1 for _ in stored(opened))
    return read_checkpoints(stored(opened), directors_since(opened, read_anchor(root))), 0


def _require_known(head: str, digests: set[str]) -> None:
    if head and not re.fullmatch("[0-9a-f]{64}", head):
        raise ConfigError(Code.CONFIG_VALUE, f"--head {head!r} is no digest", "give the 64 hex digits that were noted")
    if head and head not in digests:
        raise LedgerError(
            Code.LEDGER_CHAIN,
            f"the audit chain no longer has the row {head[:12]}: rows were cut off",
            "stop rollouts, keep this ledger as evidence and compare it with its backup",
        )
