"""The unmodified client of openpi against our gateway: a thousand calls, every array byte for byte."""

from pathlib import Path

import pytest

from serving.tls import Tls
from tests.integration.authorities import Authority, files_of
from tests.integration.gateways import running_gateway
from tests.integration.stock_clients import CALLS, EPISODES, Remembering, ask, directory, require_equal


@pytest.mark.peer
@pytest.mark.slow
def test_a_stock_client_gets_every_byte_of_a_thousand_answers() -> None:
    policy = Remembering()
    with running_gateway(directory(), policy, timeout_s=5.0) as running:
        rows = ask("ask_with_openpi.py", "openpi", running.port, str(CALLS), str(EPISODES))
        require_equal(running, rows, policy.answered, EPISODES)


@pytest.mark.peer
@pytest.mark.slow
def test_a_stock_client_asks_over_tls_as_well(tmp_path: Path) -> None:
    policy, authority = Remembering(), Authority(folder=tmp_path)
    tls = Tls(files_of(authority.platform()))
    with running_gateway(directory(), policy, timeout_s=5.0, tls=tls) as running:
        url = f"wss://127.0.0.1:{running.port}"
        rows = ask("ask_with_openpi.py", "openpi", url, "100", str(EPISODES), authority=authority.path)
        require_equal(running, rows, policy.answered, EPISODES)
