"""`volano policy`: what is released, policy folders, and who vouches for them."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volano.commands import policy_describe, policy_keys
from volano.commands.policy_keys import KEYS, ROOT, Keys, Plan, Root, told
from volano.commands.terminal import (
    LEDGER,
    STORE,
    Json,
    Ledger,
    Store,
    places,
    print_json,
    print_table,
    require_ledger,
    require_store,
)

if TYPE_CHECKING:
    from volano.ledger.records import PolicyRecord

app = typer.Typer(no_args_is_help=True, help="Released policies, policy folders, and who vouches for them.")
app.add_typer(policy_keys.app, name="keys")
app.command()(policy_describe.describe)
By = Annotated[str, typer.Option("--by", help="Who decides, for the audit log.")]


@app.callback()
def policy() -> None:
    """Released policies, policy folders, and who vouches for them."""


@app.command("ls")
def list_policies(ledger: Ledger = LEDGER, as_json: Json = False) -> None:
    """List the released policies, what they serve, and which are in place."""
    import json

    from volano.flywheel.released import RELEASED
    from volano.ledger.ledger import open_ledger

    require_ledger(ledger)
    with open_ledger(ledger) as opened:
        policies, current = opened.policies(), opened.current_policies()
    found = []
    for policy in policies:
        plain = json.loads(policy.manifest)
        found.append(
            {
                "digest": policy.digest,
                "version": policy.version,
                "status": policy.status,
                "embodiments": sorted(plain["embodiments"]),
                "in_place": _in_place(policy, current),
                "trained_on": plain["lineage"]["dataset_versions"],
                "evaluation": plain["lineage"]["evaluation"],
            }
        )
    if as_json:
        print_json(found)
        return
    for one in found:
        place = f"in place for {', '.join(one['in_place'])}" if one["in_place"] else "in place nowhere"
        print(f"{one['digest']}  version {one['version']}, {one['status']}")
        print(f"    serves {', '.join(one['embodiments'])}; {place}")
    if not found:
        print("no policy was released yet")
    waiting = [one["digest"][:12] for one in found if one["status"] == RELEASED and not one["in_place"]]
    for newest in waiting[-1:]:
        print(f"next: volano rollout new NAME {newest}{places(ledger=ledger)}")


@app.command()
def verify(
    folder: Path,
    expected: Annotated[str | None, typer.Option("--digest", help="The policy it must be.")] = None,
    root: Root = ROOT,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Check that a policy folder is, byte for byte, a policy that is released now."""
    from dataclasses import asdict

    from volano.registry.release import check_folder
    from volano.registry.trust import STATE, Trust
    from volano.storage.open import open_store

    require_store(store)
    manifest = check_folder(folder, expected)
    released = Trust(anchor=root, state=root.with_name(STATE)).look(open_store(store), time.time())
    number = released.of(manifest.digest).number
    if as_json:
        print_json({"digest": manifest.digest, "number": number, **asdict(manifest)})
        return
    lineage = manifest.lineage
    print(f"verified: {folder} is release {number}")
    print_table(
        {
            "digest": manifest.digest,
            "files": f"{len(manifest.files)}, {sum(entry.size for entry in manifest.files.values())} bytes",
            "embodiments": ", ".join(manifest.embodiments),
            "trained on": ", ".join(version[:12] for version in lineage.dataset_versions) or "no dataset",
            "code": lineage.code_revision,
            "parent": lineage.parent[:12] or "none",
            "evaluation": lineage.evaluation[:12] or "none",
        }
    )
    print(f"next: volano rollout new NAME {manifest.digest[:12]}")


@app.command()
def release(
    folder: Path,
    by: By,
    keys: Keys = KEYS,
    store: Store = STORE,
    ledger: Ledger = LEDGER,
    plan: Plan = False,
) -> None:
    """Vouch for a policy folder with the release key, so that rollouts may name it and robots may run it."""
    from volano.data.text import words
    from volano.flywheel.released import record_release
    from volano.ledger.ledger import open_ledger
    from volano.registry import repository
    from volano.registry.keys import open_keys
    from volano.registry.release import check_folder, publish
    from volano.storage.open import open_store

    require_store(store)
    require_ledger(ledger)
    actor, manifest, now = words(by, "--by"), check_folder(folder), time.time()
    if plan:
        print(f"would release {manifest.digest} for {', '.join(manifest.embodiments)}, with the keys in {keys}")
        return
    opened, signers = open_store(store), open_keys(keys, now)
    repository.begin(opened, signers, now)
    publish(opened, folder)
    found = repository.release(opened, signers, signers.trust, manifest, now)
    with open_ledger(ledger) as written:
        record_release(written, manifest, actor, now)
    print(f"released: {manifest.digest}, release {found.of(manifest.digest).number}")
    print(f"next: volano rollout new NAME {manifest.digest[:12]}{places(ledger=ledger)}")


@app.command()
def withdraw(
    digest: Annotated[str, typer.Argument(help="The policy, or the start of its digest.")],
    by: By,
    keys: Keys = KEYS,
    store: Store = STORE,
    ledger: Ledger = LEDGER,
    plan: Plan = False,
) -> None:
    """Vouch for a policy no more: replicas of it end, no robot is assigned it again, and none accepts its answers."""
    import json
    from dataclasses import replace

    from volano.data.text import words
    from volano.flywheel.released import WITHDRAWN, record_of
    from volano.ledger.ledger import open_ledger
    from volano.registry import repository
    from volano.registry.keys import Keys as Signers
    from volano.storage.open import open_store

    require_store(store)
    require_ledger(ledger)
    actor, signers, now = words(by, "--by"), Signers(folder=keys), time.time()
    opened = open_store(store)
    with open_ledger(ledger) as written:
        record = record_of(written, digest)
        if plan:
            place = ", ".join(_in_place(record, written.current_policies()))
            print(f"would withdraw {record.digest}, in place {f'for {place}' if place else 'nowhere'}")
            return
        repository.require_signers(opened, signers, signers.trust)
        written.put_policy(replace(record, status=WITHDRAWN), actor, now)  # first: killed between, this can be repeated
        repository.withdraw(opened, signers, signers.trust, record.digest, now)
        active = written.active_rollout()
    print(f"withdrawn: {record.digest}; gateways notice within half a minute")
    if active is not None and json.loads(active.document).get("candidate") == record.digest:
        print(f"CAREFUL: {active.id} still runs on it and cannot promote it: volano rollout rollback {active.id}")
    print(f"next: volano policy ls{places(ledger=ledger)}")


@app.command()
def renew(keys: Keys = KEYS, store: Store = STORE) -> None:
    """Sign for another 24 hours, with the online key alone, that what is released is the newest. A gateway does it."""
    from volano.registry import repository
    from volano.registry.keys import Keys as Signers
    from volano.storage.open import open_store

    require_store(store)
    signers, now = Signers(folder=keys), time.time()
    opened = open_store(store)
    repository.renew(opened, signers, signers.trust, now, within_s=float("inf"))
    until = signers.trust.look(opened, now).until
    print(f"renewed: it counts until {told(until)}")
    print(f"next: volano policy keys ls{places(store=store)}")


def _in_place(policy: "PolicyRecord", current: Mapping[str, str]) -> list[str]:
    """The robots for which a policy is in place, by tag; `current` is fingerprint to digest."""
    import json

    served = json.loads(policy.manifest)["embodiments"]
    return sorted(tag for tag, fingerprint in served.items() if current.get(fingerprint) == policy.digest)
