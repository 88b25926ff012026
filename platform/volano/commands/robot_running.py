"""`volano robot key`, `trust` and `running`: whose word a robot's reports are, and what robots say that they run."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volano.commands.policy_keys import ROOT, Root, told
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
from volano.errors import Code, ServeError

if TYPE_CHECKING:
    from volano.registry.confirmation import Running

By = Annotated[str, typer.Option("--by", help="Who decides, for the audit log.")]
Plan = Annotated[bool, typer.Option("--plan", help="Say what would be done; change nothing.")]
_LOOK_S = 1.0


def key(
    folder: Annotated[Path, typer.Argument(help="Folder on the robot for its report key, made on first use.")],
) -> None:
    """On the robot: make the key that it signs its reports with, which never leaves it."""
    from volano.registry.signing import generate

    made = generate(folder, "report.key", "report.pub")
    print(f"the robot's report key: {folder / 'report.key'}; its public half is")
    print(made.public_key().public_bytes_raw().hex())
    print("next, on the platform: volano robot trust ROBOT PUBLIC --by NAME")


def trust(
    robot: Annotated[str, typer.Argument(help="An enrolled robot.")],
    public: Annotated[str, typer.Argument(help="The public half, as `volano robot key` showed it.")],
    by: By,
    ledger: Ledger = LEDGER,
    plan: Plan = False,
) -> None:
    """Believe a robot's reports from now on if this key signed them."""
    from volano.data.text import words
    from volano.ledger.ledger import open_ledger
    from volano.ledger.robot_keys import trust_robot

    require_ledger(ledger)
    actor = words(by, "--by")
    if plan:
        print(f"would believe reports of {robot} by {public[:12]}")
        return
    with open_ledger(ledger) as opened:
        trust_robot(opened, robot, public, actor, time.time())
    print(f"trusted: reports of {robot} by {public[:12]}")
    print(f"next: volano robot running{places(ledger=ledger)}")


def running(
    policy: Annotated[str, typer.Option("--policy", help="Wait for the robots that are assigned this digest.")] = "",
    wait: Annotated[float, typer.Option("--wait", help="Seconds that robots have to say that they run it.")] = 0.0,
    root: Root = ROOT,
    store: Store = STORE,
    ledger: Ledger = LEDGER,
    as_json: Json = False,
) -> None:
    """Show what robots are assigned, and what they say, signed, that they run; exit code 7 when one does not
    confirm."""
    from volano.registry.confirmation import unconfirmed

    require_ledger(ledger)
    require_store(store)
    until = time.monotonic() + wait
    found = _look(root, store, ledger)
    while policy and unconfirmed(found, policy) and time.monotonic() < until:
        time.sleep(_LOOK_S)
        found = _look(root, store, ledger)
    _show(found, as_json)
    if policy and (missing := unconfirmed(found, policy)):
        raise ServeError(
            Code.SERVE_UNAVAILABLE,
            f"{len(missing)} robots do not say that they run {policy[:12]}: {', '.join(missing[:5])}",
            "see that they are connected, or go on without them",
        )


def _look(root: Path, store: str, ledger: str) -> "tuple[Running, ...]":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from volano.ledger.ledger import open_ledger
    from volano.ledger.robot_keys import robot_keys
    from volano.registry.confirmation import running
    from volano.registry.trust import STATE, Trust
    from volano.storage.open import open_store

    opened = open_store(store)
    releases = Trust(anchor=root, state=root.with_name(STATE)).look(opened, time.time())
    with open_ledger(ledger) as read:
        keys = {
            robot: Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
            for robot, public in robot_keys(read).items()
        }
    return running(opened, releases, keys)


def _show(found: "tuple[Running, ...]", as_json: bool) -> None:
    if as_json:
        plain = [
            {
                "robot": one.robot,
                "assigned": one.assigned.policy if one.assigned else None,
                "counter": one.assigned.counter if one.assigned else None,
                "runs": one.report.policy if one.report else None,
                "at": one.report.at if one.report else None,
            }
            for one in found
        ]
        print_json(plain)
        return
    for one in found:
        assigned = one.assigned.policy[:12] if one.assigned else "nothing"
        said = f"says so since {told(one.report.at)}" if one.report else "has not said that it runs it"
        print(f"{one.robot}  assigned {assigned}, {said}")
    print(
        "next: volano rollout ls" if found else "no robot has a key for reports: volano robot key FOLDER, on the robot"
    )
