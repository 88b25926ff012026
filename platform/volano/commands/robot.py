"""`volano robot`: robots and their contracts."""

import typer

from volano.commands.terminal import Json, print_json

app = typer.Typer(no_args_is_help=True, help="Robots and their contracts.")


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
