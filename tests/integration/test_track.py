"""A run is followed into a real MLflow server that is away when it begins, killed in the middle and away when it ends:
nobody waits for it, and in the end it has every point once."""

import json
import logging
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from jobs.track import following
from tests.integration.fleets import ROOT, environment
from tests.integration.gateways import eventually
from tests.integration.kills import end_group, start_mlflow
from tests.integration.seaweed import free_ports
from volano.registry.tracking import local_uri
from volano.train.journal import Journal
from volano.train.layout import JOURNAL, RUN

pytestmark = pytest.mark.slow


def answers(port: int) -> bool:
    with suppress(OSError):
        return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).status == 200)
    return False


def steps_of(uri: str) -> list[int]:
    """The steps of the one run's losses, as MLflow has them."""
    client = MlflowClient(tracking_uri=uri)
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    return sorted(point.step for run in runs for point in client.get_metric_history(run.info.run_id, "loss"))


def test_every_point_arrives_once_whatever_mlflow_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in environment(MLFLOW_HTTP_REQUEST_TIMEOUT="3", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("jobs.track._PATIENCE_S", 10.0)
    output = tmp_path / "run"
    output.mkdir()
    asked = {"config": {"recipe": "nano"}, "config_digest": "c" * 64, "request": {"version": "v" * 64}}
    (output / RUN).write_text(json.dumps(asked))
    port, slowest = free_ports(1)[0], 0.0
    uri = f"http://127.0.0.1:{port}"

    def train(begin: int, end: int) -> None:
        nonlocal slowest
        journal = Journal(output / JOURNAL)
        for step in range(begin, end):
            begun = time.perf_counter()
            journal.append(step, {"loss": 1.0 / (1 + step), "rate": 0.1})
            slowest = max(slowest, time.perf_counter() - begun)

    with following(output, uri), ExitStack() as servers:
        train(0, 100)
        server = start_mlflow(tmp_path, port)
        servers.callback(end_group, server)
        assert eventually(lambda: answers(port), within_s=120)
        assert eventually(lambda: steps_of(uri) == list(range(100)), within_s=120)
        end_group(server)
        train(80, 300)  # a worker died and went on from its checkpoint
        server = start_mlflow(tmp_path, port)
        servers.callback(end_group, server)
        assert eventually(lambda: answers(port), within_s=120)
        assert eventually(lambda: steps_of(uri) == list(range(300)), within_s=120)
        end_group(server)
        train(300, 400)
        begun = time.monotonic()
    assert time.monotonic() - begun < 30, "the end waits for nobody for long"
    with caplog.at_level(logging.WARNING):
        assert "MLflow lacks points of this run" in caplog.text
    uri = local_uri(tmp_path)
    assert steps_of(uri) == list(range(300))
    later = [sys.executable, "-m", "jobs.track", str(output), "--tracking", uri]
    for _ in range(2):
        assert subprocess.run(later, cwd=ROOT, env=environment(), check=False, timeout=120).returncode == 0
        assert steps_of(uri) == list(range(400))
    assert slowest < 5, "an append waits for the disk alone"
