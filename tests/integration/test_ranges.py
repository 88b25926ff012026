"""Parts of objects on a real S3 server, as in a folder: over a bad network, by an authority of the operator's own."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from obstore.auth.boto3 import Boto3CredentialProvider

from tests.integration.authorities import Authority, Pair
from tests.integration.seaweed import Seaweed, seaweed
from tests.sweeps.bad_s3 import BadS3
from tests.unit.storage.test_ranges import DATA, require_ranges
from volano.errors import Code, StorageError
from volano.storage import ranges
from volano.storage.open import open_store
from volano.storage.ranges import open_ranges

__all__ = ["seaweed"]
_PARTS = [(0, 1000), (5000, 1000), (9000, 1)]


@pytest.fixture
def objects(seaweed: Seaweed) -> Seaweed:
    """The server, where `a/b` of a bucket holds DATA."""
    seaweed.make_bucket("ranges")
    open_store(seaweed.url("ranges")).put_new("a/b", DATA)
    return seaweed


def test_parts_of_objects(objects: Seaweed) -> None:
    require_ranges(open_ranges(objects.url("ranges")))
    url = objects.url("ranges", "some/place")
    open_store(url).put_new("a/b", DATA)
    require_ranges(open_ranges(url))


@pytest.mark.parametrize("fault", ["500", "503", "silence", "reset", "done and reset", "answer cut"])
def test_a_request_that_fails_is_sent_again(objects: Seaweed, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "_REQUEST_TIME", timedelta(seconds=2))
    network = BadS3(objects.endpoint, silence_s=4)
    try:
        found = open_ranges(f"s3://ranges?endpoint={network.endpoint}")
        for position in range(1, len(_PARTS) + 1):
            network.spoil(position, fault)
            assert found.read("a/b", _PARTS) == [DATA[offset : offset + size] for offset, size in _PARTS]
            assert len(network.requests) > len(_PARTS), "no request was spoilt"
    finally:
        network.close()


def test_a_server_that_is_down_and_credentials_that_are_none_are_named(
    objects: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "_RETRIES", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = open_ranges(f"s3://ranges?endpoint=http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(StorageError, match=r"a/b") as refused:
            nobody.read("a/b", _PARTS)
    assert refused.value.code is Code.STORE_UNAVAILABLE
    assert "Debug" not in refused.value.cause
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(StorageError, match="SignatureDoesNotMatch") as refused:
        open_ranges(objects.url("ranges")).read("a/b", _PARTS)
    assert refused.value.code is Code.STORE_UNAVAILABLE
    assert "AWS_SECRET_ACCESS_KEY" in refused.value.fix
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with pytest.raises(StorageError, match="AWS_ACCESS_KEY_ID"):
        open_ranges(objects.url("ranges")).read("a/b", _PARTS)


def test_a_bucket_that_is_none_is_named(objects: Seaweed) -> None:
    with pytest.raises(StorageError, match="'none' does not exist") as refused:
        open_ranges(objects.url("none")).read("a/b", _PARTS)
    assert refused.value.code is Code.STORE_BUCKET


def test_variables_that_boto3_does_not_heed_change_nothing(objects: Seaweed, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        elsewhere = f"http://127.0.0.1:{taken.getsockname()[1]}"
        for variable in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
            monkeypatch.setenv(variable, elsewhere)
        for variable in ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "AWS_SKIP_SIGNATURE", "AWS_S3_EXPRESS"):
            monkeypatch.setenv(variable, "true")
        require_ranges(open_ranges(objects.url("ranges")))


def test_credentials_are_asked_for_once_in_minutes(objects: Seaweed, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, given = list[int](), Boto3CredentialProvider.__call__

    def counted(provider: Boto3CredentialProvider) -> object:
        asked.append(1)
        return given(provider)

    monkeypatch.setattr(Boto3CredentialProvider, "__call__", counted)
    found = open_ranges(objects.url("ranges"))
    for _ in range(4):
        found.read("a/b", _PARTS)
        time.sleep(0.15)
    assert len(asked) == 1


def test_an_authority_of_the_operator_is_trusted(
    objects: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, other = Authority(folder=tmp_path), Authority(folder=tmp_path, name="other")
    monkeypatch.setattr(ranges, "_RETRIES", 0)
    with encrypted(objects, authority.platform()) as endpoint:
        url = f"s3://ranges?endpoint={endpoint}"
        bundle = tmp_path / "bundle.pem"
        bundle.write_bytes(other.path.read_bytes() + authority.path.read_bytes())
        monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
        assert open_store(url).get("a/b") == DATA
        require_ranges(open_ranges(url))
        monkeypatch.setenv("AWS_CA_BUNDLE", str(other.path))
        monkeypatch.setenv("AWS_ALLOW_INVALID_CERTIFICATES", "true")
        with pytest.raises(StorageError, match="AWS_CA_BUNDLE"):
            open_ranges(url).read("a/b", _PARTS)


@contextmanager
def encrypted(server: Seaweed, pair: Pair) -> Iterator[str]:
    """An endpoint in front of a server that speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    target = ("127.0.0.1", int(server.endpoint.rpartition(":")[2]))

    def relay(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                plain, _ = listener.accept()
                with suppress(OSError):
                    client, behind = context.wrap_socket(plain, server_side=True), socket.create_connection(target)
                    for source, sink in ((client, behind), (behind, client)):
                        threading.Thread(target=relay, args=(source, sink), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
