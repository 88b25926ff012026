"""Unmodified clients of RoboArena, starVLA and vla-eval, and openpi's of its repository, against our gateway: a
thousand calls each, every array byte for byte, and episodes where their protocols say so.
"""

import numpy as np
import pytest

from tests.integration.export_readers import source_of
from tests.integration.gateways import running_gateway
from tests.integration.stock_clients import CALLS, DROID, EPISODES, Remembering, ask, directory, require_equal

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def test_roboarena_s_client_on_a_port_of_its_own() -> None:
    source, policy = source_of("roboarena"), Remembering()
    with running_gateway(directory(), policy, timeout_s=5.0, more={"roboarena": 0}) as running:
        port = running.ports["roboarena"]
        rows = ask("ask_with_roboarena.py", "stock", port, str(CALLS), str(EPISODES), source=source)
        require_equal(running, rows, [chunk[: DROID.execute] for chunk in policy.answered], EPISODES)


def test_starvla_s_client_on_a_port_of_its_own() -> None:
    source, policy = source_of("starvla"), Remembering()
    with running_gateway(directory(), policy, timeout_s=5.0, more={"starvla": 0}) as running:
        port = running.ports["starvla"]
        rows = ask("ask_with_starvla.py", "stock", port, str(CALLS), str(EPISODES), source=source)
        require_equal(running, rows, [chunk[np.newaxis, : DROID.execute] for chunk in policy.answered], EPISODES)
        assert [access.outcome for access in running.access[CALLS:]] == ["E-CONTRACT-001"]


def test_vla_eval_s_client_with_arrays_and_png() -> None:
    policy = Remembering()
    with running_gateway(directory(), policy, timeout_s=5.0) as running:
        rows = ask("ask_with_vlaeval.py", "stock", running.port, str(CALLS), str(EPISODES), "raw", "png")
        require_equal(running, rows, [chunk[0] for chunk in policy.answered], EPISODES)


def test_vla_eval_s_client_with_jpeg() -> None:
    policy = Remembering()
    with running_gateway(directory(), policy, timeout_s=5.0) as running:
        rows = ask("ask_with_vlaeval.py", "stock", running.port, "20", "1", "jpeg")
        raw = ask("ask_with_vlaeval.py", "stock", running.port, "20", "1", "raw")
    assert len(rows) == len(raw) == 20
    for lossy, exact in zip(policy.seen[:20], policy.seen[20:], strict=True):
        for camera in DROID.cameras:
            key = f"observation/image/{camera.name}"
            difference = lossy[key].astype(np.float64) - exact[key]
            assert 0 < np.abs(difference).mean() < 8


def test_openpi_s_client_of_its_repository() -> None:
    source, policy = source_of("openpi") / "packages" / "openpi-client" / "src", Remembering()
    with running_gateway(directory(), policy, timeout_s=5.0) as running:
        rows = ask("ask_with_openpi.py", "openpi", running.port, str(CALLS), str(EPISODES), source=source)
        require_equal(running, rows, policy.answered, EPISODES)


@pytest.mark.parametrize("spelling", ["msgpack-numpy", "vllm"])
def test_clients_with_other_spellings_of_arrays(spelling: str) -> None:
    policy = Remembering()
    with running_gateway(directory(), policy, timeout_s=5.0) as running:
        rows = ask("ask_with_msgpack_numpy.py", "stock", running.port, str(CALLS), str(EPISODES), spelling)
        require_equal(running, rows, policy.answered, EPISODES)
