"""`volano robot`: robots and their contracts, and who may connect."""

import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volano.commands import robot_running
from volano.commands.terminal import (
    LEDGER,
    Authority,
    Certificate,
    CertificateKey,
    Json,
    Ledger,
    print_json,
    require_ledger,
)
from volano.errors import Code, ConfigError, LedgerError, ServeError

if TYPE_CHECKING:
    from volano.inference.tunnel import Place
    from volano.ledger.sightings import Sighting

app = typer.Typer(no_args_is_help=True, help="Robots and their contracts.")
for _verb in (robot_running.key, robot_running.trust, robot_running.running):
    app.command()(_verb)
By = Annotated[str, typer.Option("--by", help="Who decides, for the audit log.")]
Plan = Annotated[bool, typer.Option("--plan", help="Say what would be done; change nothing.")]


@app.command("ls")
def list_robots(ledger: Ledger = LEDGER, as_json: Json = False) -> None:
    """List the enrolled robots: site, embodiment, when each was seen last and which policy it ran then."""
    from volano.ledger.ledger import open_ledger
    from volano.ledger.sightings import sightings

    require_ledger(ledger)
    with open_ledger(ledger) as opened:
        found = sightings(opened)
    if as_json:
        print_json([_plain(one) for one in found])
        return
    width = max((len(one.robot.id) for one in found), default=0)
    for one in found:
        print(f"{one.robot.id:{width}}  {_told(one, time.time())}")
    revoked = sum(one.robot.revoked for one in found)
    print(f"{len(found)} robots, {revoked} of them revoked")
    print("next: volano robot enroll NAME TAG --key FILE --by NAME")


def _plain(found: "Sighting") -> dict[str, object]:
    robot, last = found.robot, found.last
    return {
        "robot": robot.id,
        "site": robot.site,
        "embodiment": robot.embodiment,
        "fingerprint": robot.fingerprint,
        "enrolled_at": robot.enrolled_at,
        "revoked": robot.revoked,
        "seen_at": found.seen_at,
        "policy": last.policy if last else None,
        "rollout": last.rollout if last else None,
        "arm": last.arm if last else None,
    }


def _told(found: "Sighting", now: float) -> str:
    robot, last = found.robot, found.last
    seen = "never seen" if found.seen_at is None else f"seen {_ago(now - found.seen_at)} ago"
    runs = f"policy {last.policy[:12]}" if last else "no episode yet"
    arm = f" ({last.rollout}, {last.arm or 'not measured'})" if last and last.rollout else ""
    ended = "  REVOKED" if robot.revoked else ""
    return f"{robot.embodiment:8}  {robot.site or '-':12}  {seen:16}  {runs}{arm}{ended}"


def _ago(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


@app.command("embodiments")
def list_embodiments(as_json: Json = False) -> None:
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
    if not key.parent.is_dir():
        raise ConfigError(Code.CONFIG_VALUE, f"there is no folder {key.parent} for the key", "name a file in one")
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


@app.command()
def tunnel(
    to: Annotated[str, typer.Argument(metavar="HOST:PORT", help="The platform's port, which speaks TLS.")],
    near: Annotated[str, typer.Option("--at", metavar="HOST:PORT", help="Where the client connects.")],
    ca: Authority = None,
    certificate: Certificate = None,
    certificate_key: CertificateKey = None,
) -> None:
    """On a robot: carry what a client without TLS says to a port of the platform that wants it, until Ctrl-C."""
    import asyncio
    from contextlib import suppress

    from volano.certificates import client_context
    from volano.inference.tunnel import carry

    context = client_context(ca, certificate, certificate_key)
    context.set_alpn_protocols(["h2"])  # gRPC wants to hear it, and nobody else listens

    async def run() -> None:
        try:
            server = await carry(_place(near), _place(to), context)
        except OSError as error:
            raise ServeError(
                Code.SERVE_UNAVAILABLE, f"cannot listen on {near}: {error.strerror}", "free the port or name another"
            ) from error
        print(f"listening: {near}, carried to {to}", flush=True)
        await server.serve_forever()

    with suppress(KeyboardInterrupt):
        asyncio.run(run())


def _place(text: str) -> "Place":
    """`HOST:PORT`, an IPv6 address in brackets."""
    from volano.inference.tunnel import Place

    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(Code.CONFIG_VALUE, f"{text!r} is not HOST:PORT", "name it as 10.0.0.5:5555")
    return Place(host=host.removeprefix("[").removesuffix("]"), port=int(port))
