"""`volano data convert`: datasets that a lab already has, into bundles that are judged like any robot's."""

import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from volano.commands.terminal import Json, print_json, require_store

if TYPE_CHECKING:
    from volano.data.readers.convert import Converted
    from volano.embodiment.contract import Embodiment

_MAX_MAPPING_BYTES = 1 << 20
_MAX_WORKERS = 256
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_CAMERAS = {"copy": "copied byte for byte", "cut": "packets copied", "encode": "encoded"}


def convert(
    source: Annotated[
        Path, typer.Argument(help="A LeRobot or RLDS folder, an HDF5 or MCAP file, or a folder of them.")
    ],
    embodiment: Annotated[str, typer.Option("--embodiment", help="A robot's tag, or the JSON file of a contract.")],
    mapping: Annotated[Path, typer.Option("--mapping", help="How fields become channels; see docs/formats.md.")],
    robot: Annotated[str, typer.Option("--robot", help="The robot's name, under which episodes are uploaded.")],
    output: Annotated[Path | None, typer.Option("--output", help="Folder for the bundles.")] = None,
    store: Annotated[str, typer.Option("--store", help="Store to upload to, in place of a folder.")] = "",
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be done; write nothing.")] = False,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, max=_MAX_WORKERS, help="Processes at work; default: one for each core."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Convert a foreign dataset into episodes, which then are uploaded and judged like any robot's."""
    from volano.data.readers.child import Request
    from volano.data.readers.deliver import into_folder, into_store, planned
    from volano.data.readers.mapping import Mapping
    from volano.errors import Code, ConfigError
    from volano.storage.open import open_store

    if (output is not None and store) or not (output or store or plan):
        raise ConfigError(Code.CONFIG_VALUE, "where to is not clear", "give --output or --store, or --plan")
    text = _read(mapping)
    request = Request(
        source=source,
        embodiment=_embodiment(embodiment),
        mapping=Mapping.from_bytes(text),
        mapping_text=text.decode(),
        robot=robot,
        workers=workers or min(_MAX_WORKERS, cores()),
    )
    if store:
        require_store(store)
    opened = open_store(store) if store else None
    found: Iterable[Converted]
    if plan:
        found = planned(request, output, opened)
    elif opened is None:
        assert output is not None
        found = into_folder(request, output)
    else:
        found = into_store(request, opened)
    told = [_tell(one, silent=as_json) for one in found]
    sending = f"volano data upload {shlex.quote(str(output))} --to STORE"
    after = f"volano data ingest --store {shlex.quote(store)}" if store else sending
    after += f" --contract {shlex.quote(embodiment)}" if store and embodiment.endswith(".json") else ""
    _end(told, place=str(output or store), after=after, as_json=as_json)


def cores(quota: Path = _QUOTA) -> int:
    """How many this process may use: of a container that is held to a share of a machine, as many as that makes."""
    try:
        share, period = map(int, quota.read_text().split())
    except (OSError, ValueError):  # no container, or none that is held to less
        return len(os.sched_getaffinity(0))
    return max(1, min(len(os.sched_getaffinity(0)), share // period))


def _read(path: Path) -> bytes:
    from volano.errors import Code, ConfigError

    try:
        with path.open("rb") as file:
            data = file.read(_MAX_MAPPING_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            Code.CONFIG_VALUE, f"{path} cannot be read: {error.strerror}", "name a file that is there"
        ) from error
    if len(data) > _MAX_MAPPING_BYTES:
        raise ConfigError(Code.CONFIG_VALUE, f"{path} is too large to be a mapping", "docs/formats.md describes one")
    return data


def _embodiment(name: str) -> "Embodiment":
    from volano.data.contracts import read_contract
    from volano.embodiment.shipped import shipped

    return read_contract(Path(name)) if name.endswith(".json") else shipped(name)


def _tell(one: "Converted", *, silent: bool) -> dict[str, Any]:
    """Print one episode's line as soon as it is done, and keep it for the end."""
    from dataclasses import asdict

    if not silent:
        print(f"{one.attempt}  {one.status}  {one.source}")
        if one.status == "refused":
            print(f"    {one.code}  {one.cause}\n    fix: {one.fix}")
        for name, camera in one.plan.get("cameras", {}).items():
            how = f"{_CAMERAS.get(camera['treatment'], '?')}{', ' if camera['reason'] else ''}{camera['reason']}"
            print(f"    {name}: {how}, {camera['size'] / 1e6:.1f} MB")
        for note in one.plan.get("notes", []):
            print(f"    note: {note}")
    return asdict(one)


def _end(told: list[dict[str, Any]], *, place: str, after: str, as_json: bool) -> None:
    refused = sum(one["status"] == "refused" for one in told)
    if as_json:
        print_json({"episodes": told, "refused": refused})
    else:
        counts = {
            status: sum(one["status"] == status for one in told) for status in ("converted", "planned", "already")
        }
        said = [f"{number} {status}" for status, number in {**counts, "refused": refused}.items() if number]
        print(", ".join(said) or "the source lists no episode")
        if counts["converted"] or counts["already"]:
            print(f"they are in {place}")
            print(f"next: {after}")
        elif counts["planned"]:
            print("nothing was written; next: the same with --output FOLDER or --store URL, without --plan")
    if refused:
        raise typer.Exit(1)
