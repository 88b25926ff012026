"""robomimic and ALOHA files, written with h5py, read back bit for bit; what points out of a file is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.unit.data.readers.reading import convert_here, require_true
from tests.unit.data.readers.sources import TRUTHS, Truth, png, renamed
from volano.errors import Code, DataError

TEXT = "go to the red ball"
ROBOMIMIC = renamed(
    {"state": "obs/velocity", "action": "actions", "ego": "obs/front_image", "rear": "obs/back_image"},
    instruction={"field": "problem_info.language_instruction"},
    outcome={"success": {"field": "rewards", "at_least": 1}, "source": "script"},
    rate_hz=10,
)
ALOHA = renamed(
    {
        "state": "observations/qpos",
        "action": "action",
        "ego": "observations/images/front",
        "rear": "observations/images/back",
    },
    instruction={"text": TEXT},
    rate_hz=10,
)


def write_robomimic(path: Path, truths: list[Truth] = TRUTHS, **packing: Any) -> Path:
    """One file with a group for each demonstration."""
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["problem_info"] = json.dumps({"language_instruction": TEXT})
        data.attrs["total"] = sum(truth.frames for truth in truths)
        for number, truth in enumerate(truths):
            demo = data.create_group(f"demo_{number}")
            demo.attrs["num_samples"] = truth.frames
            demo.create_dataset("actions", data=truth.action)
            demo.create_dataset("rewards", data=(np.arange(truth.frames) == truth.frames - 1).astype(np.float64))
            demo.create_dataset("obs/velocity", data=truth.state, **packing)
            demo.create_dataset("obs/front_image", data=np.stack(truth.images(64, 64)), **packing)
            demo.create_dataset("obs/back_image", data=np.stack(truth.images(48, 64)), **packing)
    return path


def write_aloha(path: Path, truth: Truth, *, coding: str = "raw") -> Path:
    """One file for one episode, images raw, encoded with padding, or encoded with free lengths."""
    with h5py.File(path, "w") as file:
        file.attrs["sim"] = False
        file["action"] = truth.action.astype(np.float64)
        file["observations/qpos"] = truth.state
        for camera, shape in (("front", (64, 64)), ("back", (48, 64))):
            name = f"observations/images/{camera}"
            images = truth.images(*shape)
            encoded = [np.frombuffer(png(image), np.uint8) for image in images] if coding != "raw" else []
            if coding == "raw":
                file[name] = np.stack(images)
            elif coding == "padded":
                longest = max(map(len, encoded))
                file[name] = np.stack([np.pad(one, (0, longest - len(one))) for one in encoded])
            else:
                data = file.create_dataset(name, (len(encoded),), h5py.vlen_dtype(np.uint8))
                for number, one in enumerate(encoded):
                    data[number] = one
    return path


@pytest.mark.parametrize("packing", [{}, {"compression": "gzip", "shuffle": True}, {"compression": "lzf"}])
def test_robomimic(tmp_path: Path, packing: dict[str, Any]) -> None:
    source = write_robomimic(tmp_path / "demo.hdf5", **packing)
    made = convert_here(source, ROBOMIMIC, tmp_path / "out")
    assert [bundle.name for bundle, _ in made] == ["old-demo_0", "old-demo_1", "old-demo_2"]
    for (bundle, planned), truth in zip(made, TRUTHS, strict=True):
        require_true(bundle, truth, instruction=TEXT)
        assert planned.notes == ()


@pytest.mark.parametrize("coding", ["raw", "padded", "free"])
def test_aloha(tmp_path: Path, coding: str) -> None:
    (tmp_path / "source").mkdir()
    for truth in TRUTHS:
        write_aloha(tmp_path / f"source/episode_{9 + truth.number}.hdf5", truth, coding=coding)
    made = convert_here(tmp_path / "source", ALOHA, tmp_path / "out")
    assert [bundle.name for bundle, _ in made] == ["old-episode_9", "old-episode_10", "old-episode_11"]
    for (bundle, planned), truth in zip(made, TRUTHS, strict=True):
        require_true(bundle, truth, instruction=TEXT)
        assert planned.notes == ("action is float64: rounded to float32",)


def _soft(file: Any) -> None:
    del file["action"]
    file["action"] = h5py.SoftLink("/observations/qpos")


def _external_link(file: Any) -> None:
    del file["action"]
    file["action"] = h5py.ExternalLink("other.hdf5", "/x")


def _linked_group(file: Any) -> None:
    file["observations/images/again"] = h5py.SoftLink("/observations")


def _external_bytes(file: Any) -> None:
    del file["action"]
    where = [("/etc/hostname", 0, 12 * 2 * 4)]
    file.create_dataset("action", (12, 2), "f4", external=where)


def _virtual(file: Any) -> None:
    del file["action"]
    layout = h5py.VirtualLayout((12, 2), "f4")
    layout[:] = h5py.VirtualSource("other.hdf5", "x", (12, 2))
    file.create_virtual_dataset("action", layout)


def _large_pieces(file: Any) -> None:
    del file["action"]
    file.create_dataset("action", (12, 2), "f4", chunks=(1 << 25, 2), maxshape=(None, 2), compression="gzip")


def _bomb(file: Any) -> None:
    del file["observations/qpos"]
    file.create_dataset("observations/qpos", (12, 4000), "f8", compression="gzip")
    file.create_dataset("observations/wide", (12, 5000), "f8", compression="gzip")


def _plugin(file: Any) -> None:
    del file["action"]
    file.create_dataset("action", data=np.zeros((12, 2), np.int32), scaleoffset=4, chunks=(12, 2))


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_soft, Code.DATA_OUTSIDE),
        (_external_link, Code.DATA_OUTSIDE),
        (_linked_group, Code.DATA_OUTSIDE),
        (_external_bytes, Code.DATA_OUTSIDE),
        (_virtual, Code.DATA_OUTSIDE),
        (_large_pieces, Code.DATA_SIZE),
        (_bomb, Code.DATA_SIZE),
        (_plugin, Code.DATA_FOREIGN),
    ],
)
def test_what_points_elsewhere_or_is_too_large_is_refused(
    tmp_path: Path, spoil: Callable[[Any], None], code: Code
) -> None:
    path = write_aloha(tmp_path / "episode_0.hdf5", TRUTHS[0])
    with h5py.File(path, "r+") as file:
        spoil(file)
    with pytest.raises(DataError) as caught:
        convert_here(path, ALOHA, tmp_path / "out")
    assert caught.value.code == code


def test_the_rate_must_be_said(tmp_path: Path) -> None:
    path = write_aloha(tmp_path / "episode_0.hdf5", TRUTHS[0])
    unsaid = {name: value for name, value in ALOHA.items() if name != "rate_hz"}
    with pytest.raises(DataError, match="rate_hz") as caught:
        convert_here(path, unsaid, tmp_path / "out")
    assert caught.value.code == Code.DATA_MAPPING
