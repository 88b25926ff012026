"""The readers of other code bases, as they are: what they import, and their sources by commit.

They run in LeRobot's environment, with older packages laid over it (`tests.peers`). A test that cannot have what it
needs skips, and says why.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests import peers
from tests.peers import or_skip

LEROBOT = ("lerobot==0.3.3", "datasets==3.6.0")
"""The last release whose format is v2.1, and what it reads tables with."""
PEERS = (*LEROBOT, "decord==0.6.0", "numpydantic==1.6.9", "pydantic==2.11.7", "pydantic-core==2.33.2", "scipy==1.15.3")
SOURCES = {
    "openpi": ("https://github.com/Physical-Intelligence/openpi.git", "15a9616a00943ada6c20a0f158e3adb39df2ccac"),
    "roboarena": ("https://github.com/robo-arena/roboarena.git", "6fa329fd1cab0ae536d60361784fcd1f87a4daf9"),
    "starvla": ("https://github.com/starVLA/starVLA.git", "0ed0aad2c83f587714f6167ef60cf7218b786590"),
    "gr00t": ("https://github.com/NVIDIA/Isaac-GR00T.git", "77866395d6ab601a770f95cf78cf51d5847f6fa1"),
}


def source_of(peer: str) -> Path:
    """The sources of a code base at the commit that docs/formats.md names; skips when they cannot be fetched."""
    return or_skip(peers.source_of, peer, *SOURCES[peer])


def read_with(script: str, *arguments: str, home: Path, packages: tuple[str, ...], source: Path | None = None) -> Any:
    """What a script of this folder, run where it finds these packages and sources first, says it sees."""
    first = [str(or_skip(peers.overlay, "lerobot", *packages)), *([str(source)] if source else [])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(first),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(home),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [str(or_skip(peers.python_of, "lerobot")), "-P", str(Path(__file__).with_name(script)), *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, (done.stdout[-1000:], done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])
