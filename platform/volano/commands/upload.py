"""`volano data upload`: on a robot, send the finished bundles of a folder, through the platform or to a store."""

import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from volano.commands.terminal import Authority, Certificate, CertificateKey, Json, print_json, robot_key
from volano.errors import Code, ConfigError, VolanoError

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The robot's folder of attempts.")]
To = Annotated[
    str,
    typer.Option("--to", envvar="VOLANO_UPLOADS", help="The platform's door, https://host:port, or a store's URL."),
]
Key = Annotated[
    Path | None, typer.Option("--key", envvar="VOLANO_ROBOT_KEY", help="File with the robot's key; for the platform.")
]
Trust = Annotated[
    list[Path] | None, typer.Option("--trust", help="Public key that signs receipts; may be given again.")
]
Plan = Annotated[bool, typer.Option("--plan", help="Say what would be sent; send and remove nothing.")]
Remove = Annotated[
    bool, typer.Option("--remove", help="Remove bundles from the disk for which the platform's receipt holds.")
]


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of one bundle."""

    attempt: str
    status: str
    """`to send`, `sent`, `removed`, or the code of what stood in the way."""
    said: str


def upload(
    folder: Folder,
    to: To,
    key: Key = None,
    trust: Trust = None,
    ca: Authority = None,
    certificate: Certificate = None,
    certificate_key: CertificateKey = None,
    plan: Plan = False,
    remove: Remove = False,
    as_json: Json = False,
) -> None:
    """Send every finished bundle that was not sent yet; one that fails does not stop the others. Safe to repeat."""
    from volano.data.upload import pending

    if not folder.is_dir():
        raise ConfigError(Code.CONFIG_VALUE, f"there is no folder {folder}", "name the robot's folder of attempts")
    if "://" in to and "@" in to:
        raise ConfigError(Code.CONFIG_VALUE, "--to holds credentials", "leave them out: URLs are shown and logged")
    by_platform = to.startswith(("http://", "https://"))
    if remove and not by_platform:
        raise ConfigError(
            Code.CONFIG_VALUE, "only the platform signs receipts", "name its door with --to, or leave out --remove"
        )
    waiting = pending(folder)
    if plan:
        found = [_planned(bundle) for bundle in waiting]
    else:
        tls = (ca, certificate, certificate_key)
        deliver, free = _through(to, key, trust or [], tls) if by_platform else (_directly(to), None)
        found = [_attempted(bundle, "sent", deliver) for bundle in waiting]
        found += _removed(folder, free) if remove and free else []
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        files = {"--key": key, "--ca": ca, "--certificate": certificate, "--certificate-key": certificate_key}
        again = [str(folder), "--to", to, *(f"{option}={path}" for option, path in files.items() if path)]
        _tell(found, f"{folder} to {to}", shlex.join([*again, *(f"--trust={path}" for path in trust or [])]))
    if any(one.status.startswith("E-") for one in found):
        raise typer.Exit(1)


def _through(
    url: str, key: Path | None, trust: list[Path], tls: tuple[Path | None, Path | None, Path | None]
) -> tuple[Callable[[Path], str], Callable[[Path], str]]:
    """How a bundle is sent through the platform, and how it is removed then."""
    from volano.certificates import client_context
    from volano.data.door import Platform
    from volano.data.send import free, send
    from volano.registry.signing import load_public_key

    if key is None or not trust:
        raise ConfigError(
            Code.CONFIG_VALUE,
            "the platform wants the robot's key, and the robot the platform's",
            "name --key FILE (from `volano robot enroll`) and --trust FILE (keys/receipt.pub of the platform)",
        )
    platform = Platform(url, robot_key(key), tls=client_context(*tls) if any(tls) else None)
    trusted = [load_public_key(path) for path in trust]

    def deliver(bundle: Path) -> str:
        receipt = send(platform, bundle, trusted)
        return f"{receipt.key}, receipt of key {receipt.key_id[:12]}"

    def remove(bundle: Path) -> str:
        free(bundle, trusted)
        return "its receipt holds"

    return deliver, remove


def _directly(url: str) -> Callable[[Path], str]:
    from volano.data.upload import upload as send
    from volano.storage.open import open_store

    store = open_store(url)
    return lambda bundle: send(store, bundle).key


def _planned(bundle: Path) -> Sent:
    from volano.data.bundle import read_manifest

    try:
        sizes = [entry.size for entry in read_manifest(bundle).files.values()]
    except VolanoError as error:
        return Sent(attempt=bundle.name, status=error.code, said=error.cause)
    return Sent(attempt=bundle.name, status="to send", said=f"{len(sizes)} files, {sum(sizes)} bytes")


def _attempted(bundle: Path, status: str, act: Callable[[Path], str]) -> Sent:
    try:
        return Sent(attempt=bundle.name, status=status, said=act(bundle))
    except VolanoError as error:
        return Sent(attempt=bundle.name, status=error.code, said=f"{error.cause}; fix: {error.fix}")


def _removed(folder: Path, free: Callable[[Path], str]) -> list[Sent]:
    from volano.data.send import sent

    return [_attempted(bundle, "removed", free) for bundle in sent(folder)]


def _tell(found: list[Sent], way: str, again: str) -> None:
    for one in found:
        print(f"{one.attempt}: {one.status}  {one.said}")
    number = {status: sum(one.status == status for one in found) for status in ("to send", "sent", "removed")}
    failed = len(found) - sum(number.values())
    said = [f"{count} {status}" for status, count in number.items() if count] + ([f"{failed} failed"] if failed else [])
    print(f"{', '.join(said) or 'nothing to send'}: {way}")
    if failed or number["to send"]:
        print(f"next: volano data upload {again}")
    else:
        print("next: on the platform, volano data ingest")
