"""Keys are made once and kept private; a signature holds for its bytes, its kind and its key, and for nothing else."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from volano.errors import Code, PolicyError
from volano.registry.signing import PRIVATE_KEY, PUBLIC_KEY, generate, load_public_key, sign, verify

KEY = Ed25519PrivateKey.generate()
ENVELOPE = sign(b"manifest", KEY)


def test_the_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        keys = list(threads.map(lambda _: generate(tmp_path / "keys").private_bytes_raw(), range(8)))
    assert len(set(keys)) == 1
    assert (tmp_path / "keys" / PRIVATE_KEY).stat().st_mode & 0o777 == 0o600
    assert {path.name for path in (tmp_path / "keys").iterdir()} == {PRIVATE_KEY, PUBLIC_KEY}
    public = load_public_key(tmp_path / "keys" / PUBLIC_KEY)
    verify(sign(b"x", generate(tmp_path / "keys")), b"x", [public])


@pytest.mark.parametrize(
    "content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_key_is_refused_and_never_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / PRIVATE_KEY).write_bytes(content)
    with pytest.raises(PolicyError) as caught:
        generate(tmp_path)
    assert caught.value.code == Code.POLICY_SIGNATURE
    assert (tmp_path / PRIVATE_KEY).read_bytes() == content


def test_one_trusted_key_of_several_is_enough() -> None:
    verify(ENVELOPE, b"manifest", [Ed25519PrivateKey.generate().public_key(), KEY.public_key()])


def test_what_no_trusted_key_signed_is_refused() -> None:
    other = Ed25519PrivateKey.generate()
    for envelope, manifest, trusted in (
        (ENVELOPE, b"manifest!", [KEY.public_key()]),
        (ENVELOPE, b"manifest", [other.public_key()]),
        (ENVELOPE, b"manifest", []),
        (sign(b"manifest", other), b"manifest", [KEY.public_key()]),
    ):
        with pytest.raises(PolicyError) as caught:
            verify(envelope, manifest, trusted)
        assert caught.value.code == Code.POLICY_SIGNATURE


def test_a_signature_of_another_kind_of_document_is_refused() -> None:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import CryptoSigner

    envelope = Envelope(b"manifest", "application/vnd.in-toto+json", {})
    envelope.sign(CryptoSigner(KEY))
    for payload_type in (envelope.payload_type, json.loads(ENVELOPE)["payloadType"]):
        foreign = json.dumps({**envelope.to_dict(), "payloadType": payload_type}).encode()
        with pytest.raises(PolicyError):
            verify(foreign, b"manifest", [KEY.public_key()])


def test_the_key_identifier_alone_convinces_nobody() -> None:
    forged = json.loads(ENVELOPE)
    forged["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()
    with pytest.raises(PolicyError, match="no trusted key"):
        verify(json.dumps(forged).encode(), b"manifest", [KEY.public_key()])


@given(st.integers(0, len(ENVELOPE) - 1), st.integers(1, 255))
def test_a_damaged_envelope_is_a_coded_refusal_or_still_the_same_signature(position: int, flip: int) -> None:
    damaged = bytearray(ENVELOPE)
    damaged[position] ^= flip
    refusal = None
    try:
        verify(bytes(damaged), b"manifest", [KEY.public_key()])
    except PolicyError as error:
        refusal = error.code
    assert refusal in {None, Code.POLICY_SIGNATURE}
    if refusal is None:
        assert base64.b64decode(json.loads(damaged)["payload"]) == b"manifest"


@given(st.binary(max_size=64) | st.recursive(st.none() | st.text(), st.lists).map(lambda x: json.dumps(x).encode()))
def test_no_foreign_bytes_are_anything_but_a_coded_refusal(envelope: bytes) -> None:
    with pytest.raises(PolicyError):
        verify(envelope, b"manifest", [KEY.public_key()])


@pytest.mark.parametrize("change", [{"signatures": None}, {"signatures": [1]}, {"payload": 1}, {"signatures": [{}]}])
def test_an_envelope_of_wrong_types_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(PolicyError):
        verify(json.dumps({**json.loads(ENVELOPE), **change}).encode(), b"manifest", [KEY.public_key()])
