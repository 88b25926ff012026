"""Every fault that a network or an S3 server can have, at every request of upload, judge and build: in the end each
object is what it would have been, after as many new starts as it took.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from tests.integration.seaweed import Seaweed, seaweed
from tests.sweeps.bad_s3 import FAULTS, BadS3
from tests.sweeps.conftest import SWEPT
from tests.sweeps.life import carry, differences, objects
from tests.unit.data.recording import record
from volano.data.bundle import UPLOADED_FILE
from volano.data.catalogue import extend
from volano.data.conservation import count
from volano.errors import VolanoError
from volano.storage import s3
from volano.storage.open import open_store

__all__ = ["seaweed"]
pytestmark = pytest.mark.slow
_BUCKET = "faults"
_SILENCE_S = 0.6
_PATIENCE_S = 0.4
"""A busy machine may answer later than that: then it is asked again, which must change nothing either."""
_LEAST_REQUESTS = 30
_ONLY = {"409": "PUT", "412": "PUT", "answer altered": "GET"}
"""Requests to which a fault can happen."""


@pytest.fixture(scope="module")
def network(seaweed: Seaweed) -> Iterator[BadS3]:
    seaweed.make_bucket(_BUCKET)
    network = BadS3(seaweed.endpoint, _SILENCE_S)
    yield network
    network.close()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    disk = tmp_path_factory.mktemp("robot")
    record(disk, frames=2)
    return disk


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The retries are those of production, only sooner; and what every client reads first is read once."""
    session = boto3.session.Session()
    monkeypatch.setattr("boto3.session.Session", lambda: session)
    config = s3._client_config().merge(Config(read_timeout=_PATIENCE_S, connect_timeout=2))
    monkeypatch.setattr(s3, "_client_config", lambda: config)
    monkeypatch.setattr(s3, "_BACKOFF_S", 0.0)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_a: 0.0)


def run(network: BadS3, disk: Path, position: int, fault: str) -> dict[str, str]:
    """A fresh store behind the network, until upload, judge and build have ended; its objects."""
    url = f"s3://{_BUCKET}/{secrets.token_hex(6)}?endpoint={network.endpoint}"
    (disk / "attempt-0001" / UPLOADED_FILE).unlink(missing_ok=True)
    network.spoil(position, fault)
    for _ in range(10):
        with suppress(VolanoError):
            carry(disk, open_store(url), lambda _line: None)
            break
    else:
        raise AssertionError(f"{fault} at request {position}: it never ends")
    network.spoil(0, "")
    extend(open_store(url))  # of what could not be read a row is written by the next run
    counts = count(open_store(url))
    assert (counts.uploaded, counts.accepted, counts.in_flight) == (1, 1, 0)
    return objects(open_store(url))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_request_changes_nothing(
    network: BadS3, disk: Path, fault: str, record_property: Callable[[str, object], None]
) -> None:
    network.spoil(0, "")
    calm_url = f"s3://{_BUCKET}/{secrets.token_hex(6)}?endpoint={network.endpoint}"
    (disk / "attempt-0001" / UPLOADED_FILE).unlink(missing_ok=True)
    carry(disk, open_store(calm_url), lambda _line: None)
    requests = list(network.requests)
    calm = objects(open_store(calm_url))
    assert len(requests) >= _LEAST_REQUESTS
    faults = 0
    for position, request in enumerate(requests, start=1):
        if not request.startswith(_ONLY.get(fault, "")):
            continue
        left = differences(run(network, disk, position, fault), calm)
        assert not left, f"{fault} at request {position}, {request}: {left}"
        faults += 1
    record_property(SWEPT, f"{faults} faults in {len(requests)} requests")
