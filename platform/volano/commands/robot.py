"""`volano robot`: robots and their contracts, and who may connect."""

import os
import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

from volano.commands.terminal import LEDGER, Json, Ledger, print_json, require_ledger
from volano.errors import Code, ConfigError, LedgerError

app = typer.Typer(no_args_is_help=True, help="Robots and their contracts.")
By = Annotated[str, typer.Option("--by", help="Who decides, for the audit log.")]
Plan = Annotated[bool, typer.Option("--plan", help="Say what would be done; change nothing.")]


@app.command("ls")
def list_robots(as_json: Json = False) -> None:
    """List the embodiments that come with Volano."""
    from volano.embodiment.shipped import SHIPPED

    if as_json:
        print_json({tag: robot.fingerprint for tag, robot in SHIPPED.items()})
        return
    for tag, robot in sorted(SHIPPED.items()):
        channels = ", ".join(channel.name for channel in robot.action)
        print(f"{tag:8} {robot.family:13} {robot.rate_hz:4g} Hz  {channels}")
    print("next: volano robot contract TAG")


@app.command()
def contract(tag: str, as_json: Json = False) -> None:
    """Show an embodiment's contract: what robot, dataset and policy must share. JSON is what programs read back."""
    from volano.embodiment.shipped import shipped

    robot = shipped(tag)
    if as_json:
        print_json(robot.to_json())
        return
    print(f"{robot.tag}: {robot.body}, {robot.family}, {robot.control_mode}")
    print(f"{robot.rate_hz:g} Hz, predicts {robot.horizon} rows and executes {robot.execute}")
    for camera in robot.cameras:
        print(f"camera {camera.name}: {camera.height} x {camera.width}")
    for kind, channels in (("state", robot.state), ("action", robot.action)):
        for channel in channels:
            print(f"{kind} {channel.name}: [{channel.low:g}, {channel.high:g}] {channel.unit}")
    print(f"fingerprint {robot.fingerprint}")
    print(f"next: volano robot contract {tag} --json")


@app.command()
def enroll(
    robot: Annotated[str, typer.Argument(help="The robot's name, as its uploads will be called.")],
    tag: Annotated[str, typer.Argument(help="Its embodiment.")],
    key: Annotated[Path, typer.Option("--key", help="New file for the robot's key; only its hash stays here.")],
    by: By,
    site: Annotated[str, typer.Option("--site", help="Where it stands.")] = "",
    ledger: Ledger = LEDGER,
    plan: Plan = False,
) -> None:
    """Make a robot known to the gateway and the door for uploads, and write its key for it to take away."""
    import secrets

    from volano.data.text import words
    from volano.embodiment.shipped import shipped
    from volano.ledger.ledger import open_ledger
    from volano.ledger.records import Robot
    from volano.storage.files import write_once

    embodiment, actor = shipped(tag), words(by, "--by")
    if key.exists():
        raise ConfigError(Code.CONFIG_VALUE, f"{key} exists", "name a new file: each robot has a key of its own")
    if plan:
        print(f"would enroll {robot} as {tag}, and write its key to {key}")
        return
    record = Robot(
        id=robot,
        embodiment=tag,
        fingerprint=embodiment.fingerprint,
        site=site,
        enrolled_at=time.time(),
        revoked=False,
    )
    secret = secrets.token_urlsafe(32)
    with open_ledger(ledger) as opened:
        write_once(key, secret.encode(), 0o600)
        try:
            opened.enroll_robot(record, secret, actor)
        except LedgerError:
            os.unlink(key)
            raise
    print(f"enrolled: {robot}, {tag}, fingerprint {embodiment.fingerprint[:12]}")
    print(f"its key: {key}; bring it to the robot, and remove it here")
    print("next, on the robot: volano data upload FOLDER --to https://HOST:PORT --key KEY --trust receipt.pub")


@app.command()
def revoke(robot: str, by: By, ledger: Ledger = LEDGER, plan: Plan = False) -> None:
    """Let a robot's key open nothing any more: neither the gateway nor the door for uploads."""
    from volano.data.text import words
    from volano.ledger.ledger import open_ledger

    require_ledger(ledger)
    actor = words(by, "--by")
    if plan:
        print(f"would revoke the key of {robot}")
        return
    with open_ledger(ledger) as opened:
        opened.revoke_robot(robot, actor, time.time())
    print(f"revoked: {robot}; it is refused at its next episode, connection or upload")
    print(f"next: volano robot enroll {shlex.quote(robot)} TAG --key FILE --by NAME")
