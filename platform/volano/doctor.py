"""What must work on this machine before a robot's data is trusted to it: each check does the real thing once."""

import ctypes.util
import importlib.metadata
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from volano.errors import VolanoError

_FREE_BYTES = 5 << 30
_MEMORY_BYTES = 8 << 30
_PACKAGES = ("torch", "ray", "transformers", "deepspeed", "mlflow", "pyarrow", "av")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check's result."""

    name: str
    ok: bool
    detail: str
    fix: str


def examine(folder: Path) -> list[Finding]:
    """Every check, none stopping another. `folder` is probed as an object store and for space."""
    checks: list[tuple[str, Callable[[], str], str]] = [
        *((name, _version_of(name), "make setup") for name in _PACKAGES),
        ("video", _video, "make setup: PyAV with H.264 is missing"),
        ("rendering", _rendering, "apt-get install libegl1 libgl1 libglu1-mesa libgl1-mesa-dri"),
        ("store", lambda: _store(folder), "choose a folder on a local file system"),
        ("disk", lambda: _disk(folder), "free at least 5 GB"),
        ("memory", _memory, "Volano's demonstration needs 8 GB"),
    ]
    return [_run(name, check, fix) for name, check, fix in checks]


def _run(name: str, check: Callable[[], str], fix: str) -> Finding:
    try:
        return Finding(name=name, ok=True, detail=check(), fix="")
    except VolanoError as error:
        return Finding(name=name, ok=False, detail=error.cause, fix=error.fix)
    except (OSError, ImportError, RuntimeError, ValueError) as error:
        return Finding(name=name, ok=False, detail=f"{type(error).__name__}: {error}", fix=fix)


def _version_of(name: str) -> Callable[[], str]:
    return lambda: importlib.metadata.version(name)


def _video() -> str:
    import av

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
            frames = sum(1 for _ in container.decode(video=0))
    if frames != 10:
        raise RuntimeError(f"{frames} of 10 frames came back")
    return "H.264 encoded and decoded"


def _rendering() -> str:
    for library in ("EGL", "GL", "GLU"):
        if ctypes.util.find_library(library) is None:
            raise OSError(f"lib{library} is missing")
    return "EGL, OpenGL and GLU are there"


def _store(folder: Path) -> str:
    from volano.storage.open import open_store, probe

    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        probe(open_store(scratch))
    return "conditional writes hold"


def _disk(folder: Path) -> str:
    free = shutil.disk_usage(folder).free
    if free < _FREE_BYTES:
        raise OSError(f"{free / 1e9:.1f} GB free")
    return f"{free / 1e9:.0f} GB free"


def _memory() -> str:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if total < _MEMORY_BYTES:
        raise OSError(f"{total / 1e9:.1f} GB")
    return f"{total / 1e9:.0f} GB"
