"""`volano stop` and `volano resume`: robots stand still by an operator's order, and act again by another.

Stopping asks for as little as it can, because whoever sees the danger has to be able to do it; resuming asks for a key
that is named, a name and a reason. Neither needs Ray, MLflow, the store or the ledger.
"""

import getpass
import json
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volano.commands.terminal import HOME, Authority, Certificate, CertificateKey, Json, print_json
from volano.errors import Code, ConfigError, HoldError, LedgerError

if TYPE_CHECKING:
    from ssl import SSLContext

    from volano.inference.hold.register import HoldRegister
    from volano.inference.hold.state import Order, Stop

NO_EMERGENCY_STOP = (
    "a software policy stop, not a safety-rated emergency stop: where people are near, press that one too"
)
Home = Annotated[
    Path, typer.Option("--home", envvar="VOLANO_HOME", help="Folder of the gateway beside which it is kept.")
]
Gateways = Annotated[
    list[str] | None, typer.Option("--gateway", metavar="URL", help="ws:// or wss:// address of a gateway to tell.")
]
File = Annotated[
    Path | None, typer.Option("--offline", metavar="FILE", help="Only write the signed order, for a robot's own disk.")
]


def stop(
    everyone: Annotated[bool, typer.Option("--all", help="Every robot.")] = False,
    robot: Annotated[str, typer.Option("--robot", help="One robot.")] = "",
    cohort: Annotated[
        str, typer.Option("--cohort", metavar="SELECTOR", help="Robots by conditions: site=hall-2,embodiment=sawyer.")
    ] = "",
    by: Annotated[str, typer.Option("--by", help="Who stops them; whoever is logged in if nobody is named.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")] = "no reason was given",
    key: Annotated[
        Path | None, typer.Option("--key", help="Operator's key; keys/stop.key of the home if none.")
    ] = None,
    home: Home = HOME,
    gateway: Gateways = None,
    offline: File = None,
    ca: Authority = None,
    certificate: Certificate = None,
    certificate_key: CertificateKey = None,
    as_json: Json = False,
) -> None:
    """Stop robots until they are resumed (HOLD): a software policy stop, never a safety-rated emergency stop."""
    from volano.inference.hold.orders import STOP_KEY, make_keys
    from volano.inference.hold.state import Stop, read_scope

    if (everyone, bool(robot), bool(cohort)).count(True) != 1:
        raise ConfigError(Code.CONFIG_VALUE, "whom to stop is not said, or twice", "give --all, --robot or --cohort")
    try:
        scope = {} if everyone else read_scope(cohort or f"robot={robot}")
    except HoldError as error:
        raise ConfigError(Code.CONFIG_VALUE, error.cause, "as in --cohort site=hall-2,embodiment=sawyer") from error
    if key is None and home.is_dir():
        make_keys(home / "keys")
    order = Stop(id=secrets.token_hex(16), at=time.time(), by=by or _user(), reason=reason, scope=scope)
    done = _carry_out(
        order, key or home / "keys" / STOP_KEY, home, gateway or [], offline, _tls(ca, certificate, certificate_key)
    )
    doubt = _doubt(order, home, done)
    if as_json:
        print_json({"stop": order.id, "whom": order.whom, "doubt": doubt, **done})
    else:
        print(f"HOLD {order.id[:12]}: {order.whom}")
        _say(done)
        if doubt:
            print(f"CAREFUL: {doubt}")
        print(NO_EMERGENCY_STOP)
        print(f"next: volano resume {order.id[:12]} --key RESUME_KEY --by NAME --reason WHY")
    _require_confirmed(done)


def resume(
    stops: Annotated[
        list[str] | None, typer.Argument(help="Stops to lift, or the start of each; none lists them.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", help="Key of an operator who may resume.")] = None,
    by: Annotated[str, typer.Option("--by", help="Who resumes them.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why it is safe again.")] = "",
    home: Home = HOME,
    gateway: Gateways = None,
    offline: File = None,
    ca: Authority = None,
    certificate: Certificate = None,
    certificate_key: CertificateKey = None,
    as_json: Json = False,
) -> None:
    """Lift stops, so that robots may act again; without a stop, list those in force."""
    from volano.inference.hold.register import REGISTER, HoldRegister
    from volano.inference.hold.state import Resume

    register = HoldRegister(home / "serving" / REGISTER)
    if not stops:
        _list(register, as_json)
        return
    if key is None or not by or not reason:
        raise ConfigError(
            Code.CONFIG_VALUE, "resuming needs --key, --by and --reason", "name the key of an operator who may resume"
        )
    lifts = tuple(_meant(register, named) for named in stops)
    order = Resume(id=secrets.token_hex(16), at=time.time(), by=by, reason=reason, lifts=lifts)
    done = _carry_out(order, key, home, gateway or [], offline, _tls(ca, certificate, certificate_key))
    if as_json:
        print_json({"resume": order.id, "lifts": lifts, **done})
    else:
        print(f"resumed by {by}: {', '.join(one[:12] for one in lifts)}")
        _say(done)
        print("next: volano resume  # without a stop: what is still in force")
    _require_confirmed(done)


def _tls(*files: Path | None) -> "SSLContext | None":
    from volano.certificates import client_context

    return client_context(*files) if any(files) else None


def _carry_out(
    order: "Order", key: Path, home: Path, gateways: list[str], offline: Path | None, tls: "SSLContext | None"
) -> dict[str, object]:
    """Write an order down here, if a platform is here, and tell it to gateways; what came of it. A gateway here that is
    encrypted reads it where it is written, and is asked itself only with `tls`."""
    from volano.inference.hold.control import send_order
    from volano.inference.hold.orders import read_authority, read_key, read_order, write_order
    from volano.inference.hold.register import REGISTER, HoldRegister
    from volano.inference.hold.state import order_from_json, order_to_json
    from volano.inference.running import GatewayFolder
    from volano.storage.files import replace_file

    checked = order_from_json(order_to_json(order))
    envelope = write_order(checked, read_key(key))
    if offline is not None:
        replace_file(offline, [envelope])
        return {"file": str(offline), "register": "", "gateways": {}, "unconfirmed": {}}
    register, unconfirmed = "", dict[str, str]()
    if home.is_dir():
        read_order(envelope, read_authority(home / "keys"))
        register = str(home / "serving" / REGISTER)
        try:
            HoldRegister(home / "serving" / REGISTER).apply(checked, envelope)
        except HoldError as error:  # a gateway that runs still obeys
            unconfirmed[register], register = str(error.cause), ""
        status = GatewayFolder(home).status()
        told_here = status is None or (status.url.startswith("wss:") and tls is None)
        if status is not None and not told_here and status.url not in gateways:
            gateways = [status.url, *gateways]
    elif not gateways:
        raise ConfigError(Code.CONFIG_VALUE, f"there is no platform at {home}", "name --gateway, --home or --offline")
    told: dict[str, object] = {}
    for url in gateways:
        try:
            told[url] = send_order(url, envelope, tls=tls if url.startswith("wss:") else None)
        except HoldError as error:
            unconfirmed[url] = error.cause
    return {"file": "", "register": register, "gateways": told, "unconfirmed": unconfirmed}


def _doubt(order: "Stop", home: Path, done: dict[str, object]) -> str:
    """That nobody hears it here, or that nobody is meant by a ledger that lies here; empty where neither is known. The
    order is given by now, so that this keeps nobody waiting."""
    from volano.inference.running import GatewayFolder

    doubts = []
    if done["register"] and not done["gateways"] and GatewayFolder(home).status() is None:
        doubts.append(f"no gateway runs from {home}: one that starts there obeys, no other hears of it; see --home")
    if _means_nobody(order, home / "ledger.db"):
        doubts.append(f"no enrolled robot is {order.whom}: look at the name (volano robot ls), or stop --all")
    return "; ".join(doubts)


def _means_nobody(order: "Stop", ledger: Path) -> bool:
    if not ledger.is_file():
        return False
    try:
        from volano.inference.hold.state import Subject
        from volano.ledger.ledger import Ledger

        with Ledger(f"sqlite:///{ledger}") as opened:
            fleet = [Subject(robot=one.id, embodiment=one.embodiment, site=one.site) for one in opened.robots()]
    except (ImportError, LedgerError):
        return False
    return not any(map(order.means, fleet))


def _say(done: dict[str, object]) -> None:
    from volano.inference.hold.control import confirm

    if done["file"]:
        print(f"signed order: {done['file']}; bring it to the robot's own disk")
    if done["register"]:
        print(f"durable in {done['register']}, which a gateway there reads by itself")
    gateways = done["gateways"]
    for url, said in gateways.items() if isinstance(gateways, dict) else ():
        print(confirm(url, said))


def _require_confirmed(done: dict[str, object]) -> None:
    missing = done["unconfirmed"]
    if isinstance(missing, dict) and missing:
        where, cause = next(iter(missing.items()))
        raise HoldError(
            Code.HOLD_UNCONFIRMED,
            f"{len(missing)} did not confirm, the first {where}: {cause}",
            "give the order again; robots of a gateway that is away lose their lease within seconds",
        )


def _list(register: "HoldRegister", as_json: bool) -> None:
    found = register.holds.in_force
    if as_json:
        print_json({"damage": register.damage, "stops": [{**vars(stop), "scope": dict(stop.scope)} for stop in found]})
        return
    if register.damage:
        print(f"every robot is held: {register.damage}")
    for stop in found:
        print(f"{stop.id[:12]}  {stop.whom}  by {stop.by}: {json.dumps(stop.reason, ensure_ascii=False)}")
    print("next: volano resume STOP --key RESUME_KEY --by NAME --reason WHY" if found else "no stop is in force here")


def _meant(register: "HoldRegister", named: str) -> str:
    if len(named) == 32:
        return named
    found = [stop.id for stop in register.holds.in_force if named and stop.id.startswith(named)]
    if len(found) != 1:
        raise ConfigError(
            Code.CONFIG_VALUE, f"{len(found)} stops in force begin with {named!r}", "list them: volano resume"
        )
    return found[0]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"
