"""The contracts that judging knows, by fingerprint: those of the robots that come with Volano, and those in files.

A file holds what `volano robot contract TAG --json` prints. It is read once, with a limit, and every value is checked.
"""

from collections.abc import Iterable
from pathlib import Path

from volano.data.text import strict_json
from volano.embodiment.contract import Embodiment
from volano.embodiment.shipped import SHIPPED
from volano.errors import Code, ConfigError, ContractError

_MAX_BYTES = 1 << 20
_FIX = "use what `volano robot contract TAG --json` prints"


def read_contract(path: Path) -> Embodiment:
    """The contract in a JSON file; raises ConfigError(E-CONFIG-003) when it cannot be read and
    ContractError(E-CONTRACT-003) when it holds none."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        cause = f"{path} cannot be read: {error.strerror}"
        raise ConfigError(Code.CONFIG_VALUE, cause, "name a file that is there") from error
    if len(data) > _MAX_BYTES:
        raise ContractError(Code.CONTRACT_VALUE, f"{path} is too large to be a contract", _FIX)
    try:
        plain = strict_json(data)
    except (ValueError, RecursionError) as error:
        raise ContractError(Code.CONTRACT_VALUE, f"{path} is not sound JSON", _FIX) from error
    return Embodiment.from_json(plain)


def known_contracts(files: Iterable[Path] = ()) -> dict[str, Embodiment]:
    """Every contract that is shipped or stands in one of the files, by fingerprint; raises like `read_contract`."""
    robots = [*SHIPPED.values(), *map(read_contract, files)]
    return {robot.fingerprint: robot for robot in robots}
