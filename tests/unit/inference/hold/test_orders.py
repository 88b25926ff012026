"""Who may give which order."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.unit.inference.hold.orders_of import Operators, resume, stop
from volano.errors import HoldError
from volano.inference.hold.orders import (
    PAYLOAD_TYPE,
    RESUME_KEY,
    STOP_KEY,
    Authority,
    make_keys,
    read_authority,
    read_key,
    read_order,
    write_order,
)
from volano.storage.envelope import sealed

OPERATORS = Operators()


def test_who_may_stop_may_not_resume_and_who_may_resume_may_stop() -> None:
    one = stop()
    assert read_order(write_order(one, OPERATORS.stopper), OPERATORS.authority) == one
    assert read_order(write_order(one, OPERATORS.resumer), OPERATORS.authority) == one
    lift = resume(one)
    assert read_order(write_order(lift, OPERATORS.resumer), OPERATORS.authority) == lift
    with pytest.raises(HoldError, match="no trusted key"):
        read_order(write_order(lift, OPERATORS.stopper), OPERATORS.authority)


def test_a_stranger_and_a_gateway_that_trusts_nobody_change_nothing() -> None:
    envelope = write_order(stop(), Ed25519PrivateKey.generate())
    for authority in (OPERATORS.authority, Authority(stop=(), resume=())):
        with pytest.raises(HoldError, match="E-HOLD-003"):
            read_order(envelope, authority)


def test_every_flipped_byte_and_every_other_document_is_refused() -> None:
    envelope = OPERATORS.signed(stop())
    for at in range(0, len(envelope), 3):
        changed = bytearray(envelope)
        changed[at] ^= 1
        try:
            read = read_order(bytes(changed), OPERATORS.authority)
        except HoldError:
            continue
        assert read == read_order(envelope, OPERATORS.authority), "only spelling that means the same"
    for wrong in (b"", b"{}", b"[" * 10_000, b"x" * 20_000, sealed(b"{}", "another", OPERATORS.stopper)):
        with pytest.raises(HoldError, match="E-HOLD-003"):
            read_order(wrong, OPERATORS.authority)
    for payload in (b"null", b"{", b'{"order": "stop", "order": "resume"}', b"[" * 5000):
        with pytest.raises(HoldError, match="E-HOLD-003"):
            read_order(sealed(payload, PAYLOAD_TYPE, OPERATORS.stopper), OPERATORS.authority)


def test_keys_are_made_once_and_not_again_when_one_was_taken_away(tmp_path: Path) -> None:
    make_keys(tmp_path)
    authority, key = read_authority(tmp_path), read_key(tmp_path / STOP_KEY)
    assert (tmp_path / STOP_KEY).stat().st_mode & 0o077 == 0
    (tmp_path / RESUME_KEY).rename(tmp_path / "elsewhere")
    make_keys(tmp_path)
    assert not (tmp_path / RESUME_KEY).exists()
    lift = resume(stop())
    assert read_order(write_order(lift, read_key(tmp_path / "elsewhere")), authority) == lift
    with pytest.raises(HoldError):
        read_order(write_order(replace(lift), key), read_authority(tmp_path))
    assert read_authority(tmp_path / "nobody") == Authority(stop=(), resume=())
    (tmp_path / "stop.pub").write_text("none")
    with pytest.raises(HoldError, match="no public key"):
        read_authority(tmp_path)
