"""What a gateway tells those who watch it, while a policy loads, while robots ask and while it drains."""

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from serving.metrics import Metrics
from serving.readiness import STOPPING, Readiness
from serving.routes import RobotRecord
from serving.tls import Tls
from serving.watch import Watch
from tests.integration.authorities import Authority, files_of
from tests.integration.gateways import (
    ACTING,
    KEY,
    SLOW,
    Controllers,
    Directory,
    Running,
    eventually,
    hashed,
    running_gateway,
)
from tests.integration.test_gateway import ask, observation, place, robot
from volano.cli import app
from volano.embodiment.shipped import SCOUT
from volano.inference.protocols.arrays import pack, unpack

RUNNER = CliRunner()


@contextmanager
def watched(running: Running, readiness: Readiness) -> Iterator[int]:
    """The port for watching a gateway."""
    assert running.gateway is not None
    running.gateway.unready = readiness.why_not
    watch = Watch(running.metrics, readiness.why_not)

    async def listen() -> None:
        watch.listen("127.0.0.1", 0)

    asyncio.run_coroutine_threadsafe(listen(), running.loop).result(10)
    try:
        yield watch.port
    finally:
        asyncio.run_coroutine_threadsafe(watch.stop(), running.loop).result(10)


def test_who_says_nothing_keeps_no_place_at_the_watch_port() -> None:
    async def main() -> bytes:
        watch = Watch(Metrics(), str, head_s=0.1)
        watch.listen("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", watch.port)
        try:
            return await asyncio.wait_for(reader.read(), 4)
        except ConnectionResetError:
            return b""
        finally:
            writer.close()
            await watch.stop()

    assert asyncio.run(main()) == b""


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    found = response.status, response.read().decode()
    connection.close()
    return found


def test_ready_follows_the_policies_at_once_and_says_why_not() -> None:
    problems = {ACTING: "its replicas are starting"}
    readiness = Readiness(lambda policy: problems.get(policy, ""))
    with running_gateway() as running, watched(running, readiness) as port:
        for asked in (port, running.port):
            assert get(asked, "/readyz") == (503, "nobody looked yet which policies are wanted\n")
        readiness.want(frozenset({ACTING, SLOW}))
        for asked in (port, running.port):
            assert get(asked, "/readyz") == (503, "1 of 2 policies do not answer\n")
            assert get(asked, "/healthz") == (200, "OK\n")
        problems.clear()
        assert get(port, "/readyz") == get(running.port, "/readyz") == (200, "OK\n")
        problems[SLOW] = "its replicas do not answer"
        assert get(port, "/readyz")[0] == 503, "not only after the next look at the cluster"


def test_a_gateway_that_drains_is_alive_and_not_ready_until_its_last_answer() -> None:
    readiness = Readiness({ACTING: ""}.__getitem__)
    readiness.want(frozenset({ACTING}))
    directory, act = Directory(policies={"slow": SLOW}), Controllers(slow_s=1.0)
    with (
        running_gateway(directory, act, timeout_s=5.0) as running,
        watched(running, readiness) as port,
        robot(running) as busy,
    ):
        busy.send(pack(place(task="slow")))
        assert eventually(lambda: len(act.seen) == 1)
        readiness.stop()
        assert get(running.port, "/readyz") == (503, f"{STOPPING}\n")
        stopping = threading.Thread(target=running.stop, daemon=True)
        stopping.start()
        assert get(port, "/readyz") == (503, f"{STOPPING}\n")
        assert get(port, "/healthz") == (200, "OK\n")
        assert stopping.is_alive(), "the answer is under way yet"
        assert "actions" in unpack(busy.recv(timeout=10, decode=False))
        stopping.join(30)


def test_metrics_tell_what_happened_by_protocol_policy_and_phase() -> None:
    readiness = Readiness({ACTING: ""}.__getitem__)
    with running_gateway() as running, watched(running, readiness) as port:
        with robot(running) as connection:
            for tick in range(3):
                assert "actions" in ask(connection, place(tick=tick))
            assert ask(connection, place(episode="2", task="nobody")).startswith("E-SERVE-001")
            assert ask(connection, observation()).startswith("E-WIRE-003")
        status, text = get(port, "/metrics")
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert status == 200
        asked = 'volano_serving_requests_total{outcome="answered",policy="aaaaaaaaaaaa",protocol="openpi"}'
        assert lines[asked] == "3.0"
        assert lines['volano_serving_holds_total{code="E-SERVE-001",protocol="openpi"}'] == "1.0"
        assert lines['volano_serving_refusals_total{code="E-WIRE-003",protocol="openpi"}'] == "1.0"
        assert lines['volano_serving_episodes_total{policy="aaaaaaaaaaaa"}'] == "1.0"
        assert lines["volano_serving_robots"] == "1.0"
        assert float(lines['volano_serving_robot_seen_timestamp_seconds{robot="rover-01"}']) > 1e9
        assert lines['volano_serving_observation_age_seconds_count{protocol="openpi"}'] == "3.0"
        for phase in ("read", "route", "policy", "write"):
            assert lines[f'volano_serving_phase_seconds_count{{phase="{phase}",protocol="openpi"}}'] == "3.0"
        sums = 'volano_serving_phase_seconds_sum{{phase="{}",protocol="openpi"}}'
        spent = [float(lines[sums.format(phase)]) for phase in ("read", "route", "policy")]
        whole = float(lines['volano_serving_observation_age_seconds_sum{protocol="openpi"}'])
        assert all(one > 0 for one in spent)
        assert sum(spent) <= whole


class Still(Controllers):
    """A policy that lets the scout stand, after a while."""

    async def __call__(self, policy: str, observation: Mapping[str, Any], within_s: float) -> NDArray[np.float32]:
        del policy, observation, within_s
        await asyncio.sleep(0.02)
        return np.tile(np.array(SCOUT.hold, np.float32), (SCOUT.horizon, 1))


@pytest.mark.parametrize("encrypted", [False, True])
def test_bench_says_how_fast_a_gateway_is(tmp_path: Path, encrypted: bool) -> None:
    authority = Authority(folder=tmp_path)
    tls = Tls(files_of(authority.platform(), authority.path)) if encrypted else None
    directory = Directory(robots={hashed(KEY): RobotRecord(id="bench-01", embodiment=SCOUT)})

    key = tmp_path / "bench.key"
    key.write_text(KEY)
    with running_gateway(directory, Still(), tls=tls) as running:
        url = f"{'wss' if encrypted else 'ws'}://127.0.0.1:{running.port}"
        own = authority.robot("bench-01")
        files = ["--ca", authority.path, "--certificate", own.certificate, "--certificate-key", own.key]
        arguments = ["serve", "bench", "bench-01", "scout", url, "--key", key, "--answers", "20", "--pace", "0"]
        arguments += files if encrypted else []
        done = RUNNER.invoke(app, [*map(str, arguments), "--json"])
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        assert found["n"] == 20
        assert found["seconds"]["policy"]["p50"][0] >= 0.02
        whole, parts = found["seconds"]["answer"]["p50"][0], ("pack", "network", "read", "route", "policy", "unpack")
        assert sum(found["seconds"][part]["p50"][0] for part in parts) == pytest.approx(whole, rel=0.5)
        assert "most of an answer's time is policy" in found["verdict"][0]
        done = RUNNER.invoke(app, list(map(str, arguments)))
        assert "n = 20 answers" in done.stdout
        assert "p99" in done.stdout
