"""Keys are made once and kept private."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from volano.errors import Code, PolicyError
from volano.registry.signing import generate, load_private_key, load_public_key


def test_the_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        keys = list(threads.map(lambda _: generate(tmp_path / "keys", "a.key", "a.pub").private_bytes_raw(), range(8)))
    assert len(set(keys)) == 1
    assert (tmp_path / "keys" / "a.key").stat().st_mode & 0o777 == 0o600
    assert {path.name for path in (tmp_path / "keys").iterdir()} == {"a.key", "a.pub"}
    public = load_public_key(tmp_path / "keys" / "a.pub")
    public.verify(load_private_key(tmp_path / "keys" / "a.key").sign(b"x"), b"x")


@pytest.mark.parametrize(
    "content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_key_is_refused_and_never_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.key").write_bytes(content)
    with pytest.raises(PolicyError) as caught:
        generate(tmp_path, "a.key", "a.pub")
    assert caught.value.code == Code.POLICY_SIGNATURE
    assert (tmp_path / "a.key").read_bytes() == content
