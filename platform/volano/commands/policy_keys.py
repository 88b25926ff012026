"""`volano policy keys`: make the keys that vouch for policies, look at them, and exchange them by a ceremony."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from volano.commands.terminal import HOME, STORE, Json, Store, places, print_json, print_table, require_store
from volano.errors import Code, ConfigError

app = typer.Typer(no_args_is_help=True, help="The keys that vouch for policies.")
KEYS, ROOT = HOME / "keys", HOME / "keys" / "root.json"
Keys = Annotated[Path, typer.Option("--keys", help="Folder with the signing keys that are kept here.")]
Root = Annotated[Path, typer.Option("--root", help="The platform's root, as it was brought to whoever trusts it.")]
Plan = Annotated[bool, typer.Option("--plan", help="Say what would be done; change nothing.")]
Signatures = Annotated[list[Path] | None, typer.Option("--key", help="Root key to sign with; may be given again.")]


@app.callback()
def keys() -> None:
    """The keys that vouch for policies."""


@app.command()
def make(
    folder: Annotated[Path, typer.Argument(help="New folder for the keys.")],
    roots: Annotated[int, typer.Option("--roots", help="Root keys, each for another person.")] = 3,
    threshold: Annotated[int, typer.Option("--threshold", help="How many of them must sign a new root.")] = 2,
    plan: Plan = False,
) -> None:
    """Make a platform's keys and its first root, on a machine without a network."""
    from volano.registry.keys import make_keys
    from volano.registry.trust import ANCHOR

    if (folder / ANCHOR).exists():
        raise ConfigError(Code.CONFIG_VALUE, f"{folder} has a root already", "name a new folder, or rotate its keys")
    if plan:
        print(f"would make {roots} root keys, a release, an online and a director key in {folder}")
        return
    made = make_keys(folder, time.time(), roots=roots, threshold=threshold)
    print(f"made: {threshold} of {roots} root keys sign the next root; {made.anchor} is the first")
    print(
        "take the root keys and release.key away, each to its person; bring online.key and director.key to the gateway,"
    )
    print(f"and {made.anchor.name} to every gateway, robot and person who must trust this platform")
    print(f"next: volano policy release FOLDER --by NAME --keys {folder}")


@app.command("ls")
def list_keys(root: Root = ROOT, store: Store = STORE, as_json: Json = False) -> None:
    """Show whose signatures count for what, and until when what is released counts."""
    from volano.registry.ceremony import newest_root
    from volano.registry.metadata import DIRECTORS
    from volano.registry.trust import STATE, Trust
    from volano.storage.open import open_store

    require_store(store)
    opened, trust = open_store(store), Trust(anchor=root, state=root.with_name(STATE))
    found = newest_root(opened, trust)
    known = trust.look(opened, time.time())
    roles = {name: {"threshold": role.threshold, "keys": sorted(role.keyids)} for name, role in found.roles.items()}
    plain = {
        "root": found.version,
        "root_until": found.expires.timestamp(),
        "roles": roles,
        "directors": found.unrecognized_fields[DIRECTORS],
        "until": known.until,
        "releases": {one.policy: one.number for one in known.by_policy.values()},
    }
    if as_json:
        print_json(plain)
        return
    print(f"root {found.version}, until {told(found.expires.timestamp())}")
    said = {
        name: f"{role.threshold} of {', '.join(one[:12] for one in sorted(role.keyids))}"
        for name, role in sorted(found.roles.items())
    }
    print_table({**said, "director": ", ".join(one[:12] for one in found.unrecognized_fields[DIRECTORS])})
    print(f"{len(known.by_policy)} releases; this counts until {told(known.until)}")
    print("next: volano policy ls")


@app.command()
def rotate(
    role: Annotated[str, typer.Argument(help="release, online, director, root or root-N.")],
    draft: Annotated[Path, typer.Option("--draft", help="New file for the draft of the next root.")],
    key: Signatures = None,
    keys: Keys = KEYS,
    store: Store = STORE,
    plan: Plan = False,
) -> None:
    """Make a new key for a role, and draft the root that puts it in the old one's place."""
    from volano.registry.ceremony import add_signature, newest_root
    from volano.registry.ceremony import draft as next_root
    from volano.registry.keys import Keys as Signers
    from volano.registry.metadata import versions
    from volano.registry.signing import load_private_key
    from volano.storage.files import write_once
    from volano.storage.open import open_store

    require_store(store)
    if draft.exists():
        raise ConfigError(Code.CONFIG_VALUE, f"{draft} exists", "name a new file")
    signers = Signers(folder=keys)
    root = newest_root(open_store(store), signers.trust)
    if plan:
        print(f"would make a new key for {role} in {keys}, and draft root {root.version + 1}")
        return
    paper = next_root(root, role, signers, time.time())
    for path in key or ():
        paper = add_signature(paper, load_private_key(path))
    write_once(draft, paper, 0o644)
    print(f"drafted: root {versions(paper)[0]} with a new key for {role}, {draft}")
    print(f"next, for each root key that has still to sign: volano policy keys sign {draft} --key FILE")
    print(f"then: volano policy keys publish {draft} --keys {keys}{places(store=store)}")


@app.command()
def sign(draft: Path, key: Signatures = None) -> None:
    """Add a root key's signature to a draft; this needs no network and no store."""
    from volano.registry.ceremony import add_signature
    from volano.registry.metadata import versions
    from volano.registry.signing import load_private_key
    from volano.storage.files import replace_file

    if not key:
        raise ConfigError(Code.CONFIG_VALUE, "no root key is named", "name one with --key FILE")
    paper = read_draft(draft)
    for path in key:
        paper = add_signature(paper, load_private_key(path))
    replace_file(draft, [paper])
    print(f"signed: root {versions(paper)[0]}, {draft}")
    print(f"next, where the new key is: volano policy keys publish {draft} --keys FOLDER --store STORE")


@app.command()
def publish(draft: Path, keys: Keys = KEYS, store: Store = STORE, plan: Plan = False) -> None:
    """Let a draft that enough root keys signed count from now on; the new key takes its role's place."""
    from volano.registry.ceremony import missing_signatures, newest_root, publish_root
    from volano.registry.keys import Keys as Signers
    from volano.registry.metadata import versions
    from volano.storage.open import open_store

    require_store(store)
    paper, signers, opened = read_draft(draft), Signers(folder=keys), open_store(store)
    version, _ = versions(paper)
    if plan:
        lacking = missing_signatures(newest_root(opened, signers.trust), paper)
        print(f"would publish root {version}; {lacking} signatures are missing")
        return
    publish_root(opened, signers, signers.trust, paper, time.time())
    print(f"published: root {version}; who follows this store learns of it by itself")
    print(f"next: volano policy keys ls --root {signers.anchor}{places(store=store)}")


def read_draft(path: Path) -> bytes:
    """A draft as it stands; raises ConfigError(E-CONFIG-003) when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(Code.CONFIG_VALUE, f"{path} cannot be read: {error.strerror}", "name the draft") from error


def told(moment: float) -> str:
    """Unix seconds for a person."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
