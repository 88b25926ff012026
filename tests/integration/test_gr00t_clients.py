"""The unmodified clients of GR00T's generations against one gateway: a thousand calls each, every array byte for byte.

Their sources are fetched by commit into `.cache/peers` and never kept here; `GR00T_CLIENTS` may name a folder that has
them already, one folder for each name below. They run in an environment of their own. A test that cannot have either
skips, and says why.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.ask_with_gr00t import digest, observation
from tests.integration.gateways import Running
from tests.integration.gr00t_ports import ARM, ARM_KEY, Replies, running_ports
from tests.peers import or_skip, python_of, source_of

_SOURCE = "https://github.com/NVIDIA/Isaac-GR00T.git"
_MODULES = ("gr00t/policy", "gr00t/data", "gr00t/configs")
CLIENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "n1.5": ("029b2dfbe40da2b508aad72289c3d528bb92e3cf", ("gr00t/eval/service.py",)),
    "n1.6": ("4e62473d5226c55784697944a5c9606a51927bfc", _MODULES),
    "droid": ("ad5d7c9fa41fb8b92c060c3051ff78f1135fbe3a", ("examples/DROID/server_client.py",)),
    "n1.7-release": ("23ace64f17aa5015259b8609d371eb61a357c776", _MODULES),
    "n1.7": ("51d4c89f72fda44cbf77285c6a8114b52676b8a1", _MODULES),
}
"""Commit of each client, and the files that it is made of."""
_CALLS = int(os.environ.get("GR00T_CALLS", "1000"))


def client_sources(name: str) -> Path:
    """A folder with the files of a client, at the paths that they have in their repository; skips without."""
    given = os.environ.get("GR00T_CLIENTS")
    if given:
        if not (Path(given) / name).is_dir():
            pytest.skip(f"GR00T_CLIENTS has no folder {name}")
        return Path(given) / name
    commit, paths = CLIENTS[name]
    return or_skip(source_of, "gr00t-client", _SOURCE, commit, paths)


@pytest.fixture(scope="module")
def gateway() -> Iterator[tuple[Running, dict[str, int]]]:
    """One process for all of them."""
    with running_ports("gr00t", "gr00t-n1.5", "gr00t-http") as running:
        yield running


def asked(name: str, folder: Path, ports: dict[str, int]) -> Any:
    """What a client says that it sent and got."""
    script = Path(__file__).with_name("ask_with_gr00t.py")
    port = ports["gr00t-http" if name == "http" else "gr00t"]
    other = ports["gr00t-n1.5"] if name == "n1.5" else port
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [
            str(or_skip(python_of, "gr00t-clients")),
            "-P",
            str(script),
            name,
            str(folder),
            str(port),
            str(other),
            ARM_KEY,
            str(_CALLS),
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, (done.stdout[-500:], done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("name", [*CLIENTS, "http"])
def test_an_unmodified_client_gets_every_byte_of_a_thousand_answers(
    gateway: tuple[Running, dict[str, int]], name: str
) -> None:
    or_skip(python_of, "gr00t-clients")
    running, ports = gateway
    folder = Path() if name == "http" else client_sources(name)
    policy = running.act
    assert isinstance(policy, Replies)
    policy.seen.clear()
    policy.answered.clear()
    running.access.clear()
    modalities, rows = asked(name, folder, ports)
    assert len(rows) == len(policy.seen) == len(policy.answered) == _CALLS
    shape = ARM.horizon, len(ARM.action)
    for number, (sent, got, dtype, form, request) in enumerate(rows):
        seen, answered = policy.seen[number], policy.answered[number]
        arrays = [seen[f"observation/{field}"] for field in ("image/ego", "image/rear", "state")]
        assert (digest(*arrays), seen["prompt"]) == (sent, f"pick ball {number}")
        assert sent == digest(*observation(number))
        assert (got, dtype) == (digest(answered), "float32")
        assert tuple(form) == (shape if name in ("n1.5", "http") else (1, *shape))
        assert request in ("", running.access[number].request)
    assert len({digest(np.asarray(answered)) for answered in policy.answered}) == _CALLS
    if name != "http":
        before = "state." if name == "n1.5" else ""
        assert modalities["state"]["modality_keys"] == [f"{before}left_arm", f"{before}gripper"]
        assert modalities["action"]["delta_indices"] == list(range(ARM.horizon))
