"""What must work on this machine before a robot's data is trusted to it: each check does the real thing once."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from volano.errors import VolanoError

_FREE_BYTES = 5 << 30
_MEMORY_BYTES = 8_000_000_000
_PYTHON = ((3, 11), (3, 14))
_PACKAGES = ("torch", "ray", "transformers", "deepspeed", "mlflow", "pyarrow")
_RENDER = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><light pos='0 0 3'/><geom size='1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 32, 32)
renderer.update_scene(data)
assert renderer.render().std() > 1, "the picture is empty"
"""
_RENDER_TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check's result."""

    name: str
    ok: bool
    detail: str
    fix: str


def examine(store: str) -> list[Finding]:
    """Every check, none stopping another. `store` is the URL of the object store to probe."""
    checks: list[tuple[str, Callable[[], str], str]] = [
        ("python", _python, "use Python 3.11, 3.12 or 3.13"),
        *((name, _version_of(name), "make setup") for name in _PACKAGES),
        ("video", _video, "make setup: PyAV with H.264 is missing"),
        ("rendering", _rendering, "apt-get install libegl1 libgl1 libglu1-mesa libgl1-mesa-dri, then make setup"),
        ("store", lambda: _store(store), "choose another folder or bucket"),
        ("disk", _disk, "free at least 5 GB"),
        ("memory", _memory, "use a machine with 8 GB: the demonstration needs them"),
    ]
    return [_run(name, check, fix) for name, check, fix in checks]


def _run(name: str, check: Callable[[], str], fix: str) -> Finding:
    try:
        return Finding(name=name, ok=True, detail=check(), fix="")
    except VolanoError as error:
        return Finding(name=name, ok=False, detail=error.cause, fix=error.fix)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name=name, ok=False, detail="not installed", fix=fix)
    except (OSError, ImportError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
        return Finding(name=name, ok=False, detail=f"{type(error).__name__}: {error}", fix=fix)


def _python() -> str:
    found = ".".join(map(str, sys.version_info[:3]))
    if not _PYTHON[0] <= sys.version_info[:2] < _PYTHON[1]:
        raise RuntimeError(found)
    return found


def _version_of(name: str) -> Callable[[], str]:
    return lambda: importlib.metadata.version(name)


def _video() -> str:
    import av
    import numpy as np

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "check.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.width = stream.height = 64
            stream.pix_fmt = "yuv420p"
            for shade in range(10):
                frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * shade, np.uint8), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        with av.open(str(path)) as container:
            shades = [float(frame.to_ndarray(format="rgb24").mean()) for frame in container.decode(video=0)]
    if len(shades) != 10 or shades != sorted(shades):
        raise RuntimeError("the frames that came back are not those that went in")
    return "H.264 encoded and decoded"


def _rendering() -> str:
    importlib.metadata.version("mujoco")
    done = subprocess.run(
        [sys.executable, "-c", _RENDER],
        capture_output=True,
        text=True,
        timeout=_RENDER_TIMEOUT_S,
        check=False,
        env={**os.environ, "MUJOCO_GL": "egl"},
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise RuntimeError(last[0])
    return "a picture was rendered off-screen with EGL"


def _store(url: str) -> str:
    from volano.storage.open import open_store, probe

    if "://" in url:
        probe(open_store(url))
        return f"{url}: of two writers one wins"
    with tempfile.TemporaryDirectory(dir=url) as scratch:
        probe(open_store(scratch))
    return f"{Path(url).resolve()}: of two writers one wins"


def _disk() -> str:
    free = shutil.disk_usage(Path()).free
    if free < _FREE_BYTES:
        raise OSError(f"{free / 1e9:.1f} GB free here")
    return f"{free / 1e9:.0f} GB free here"


def _memory() -> str:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if total < _MEMORY_BYTES:
        raise OSError(f"{total / 1e9:.1f} GB")
    return f"{total / 1e9:.0f} GB"
