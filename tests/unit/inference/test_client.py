"""The robot's client imports nothing that a robot would not want to install."""

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "ray", "pyarrow", "av", "boto3", "transformers", "pandas", "scipy", "omegaconf", "typer"}


@pytest.mark.parametrize("module", ["volano.inference.client", "volano.inference.streaming"])
def test_the_client_imports_little(module: str) -> None:
    program = f"import json, sys, {module}; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = set(json.loads(done.stdout))
    assert {"numpy", "msgpack", "websockets", "volano"} <= imported
    assert not imported & HEAVY


def test_uploading_imports_neither_tables_nor_video() -> None:
    program = (
        "import sys, volano.data.upload; sys.exit(bool({'pyarrow', 'av', 'numpy', 'torch', 'ray'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_uploading_through_the_platform_needs_little_more_than_cryptography() -> None:
    """Where nothing else is installed: the library for envelopes loads boto3 where it finds it."""
    program = f"""
import sys
for absent in {sorted(HEAVY - {"typer"} | {"botocore", "google", "numpy", "msgpack", "sqlalchemy", "starlette"})}:
    sys.modules[absent] = None
import volano.commands.upload, volano.data.send, volano.registry.signing
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from volano.storage.envelope import sealed, unsealed
key = Ed25519PrivateKey.generate()
assert unsealed(sealed(b"receipt", "kind", key), "kind", [key.public_key()]) == b"receipt"
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
