"""The robot's client imports nothing that a robot would not want to install."""

import json
import subprocess
import sys

HEAVY = {"torch", "ray", "pyarrow", "av", "boto3", "transformers", "pandas", "scipy", "omegaconf", "typer"}


def test_the_client_imports_little() -> None:
    program = (
        "import json, sys, volano.inference.client; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = set(json.loads(done.stdout))
    assert {"numpy", "msgpack", "websockets", "volano"} <= imported
    assert not imported & HEAVY


def test_uploading_imports_neither_tables_nor_video() -> None:
    program = (
        "import sys, volano.data.upload; sys.exit(bool({'pyarrow', 'av', 'numpy', 'torch', 'ray'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
