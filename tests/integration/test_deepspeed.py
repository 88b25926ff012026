"""DeepSpeed ZeRO-1 with Muon on two processes: what is killed goes on bit-equal, and both workers end alike."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.integration import train_two, workers

pytestmark = pytest.mark.slow
_STEPS = 8


def run(output: Path, kill_at: int = -1) -> bool:
    """Train with two processes; whether both came to the end."""
    output.mkdir(exist_ok=True)
    return not any(workers.run(train_two.main, output, kill_at, workers=2, said=output / "said"))


def losses(output: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (output / "losses.jsonl").read_text().splitlines()]
    assert {len(parts) for _, _, _, parts in lines} <= {1, 5}, "the expert alone, then every part"
    for _, _, norm, groups in lines:
        assert math.hypot(*groups) == pytest.approx(norm, rel=1e-5)
    return {step: loss for step, loss, _, _ in lines}


def test_two_workers_that_are_killed_go_on_bit_equal(tmp_path: Path) -> None:
    assert run(tmp_path / "whole"), (tmp_path / "whole" / "said").read_text()
    assert not run(tmp_path / "killed", kill_at=6)
    before = losses(tmp_path / "killed")
    assert sorted(before) == list(range(6))
    assert run(tmp_path / "killed"), (tmp_path / "killed" / "said").read_text()
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    assert sorted(losses(tmp_path / "whole")) == list(range(_STEPS))
    whole = load_file(tmp_path / "whole" / "weights-0.safetensors")
    for other in (tmp_path / "whole" / "weights-1.safetensors", tmp_path / "killed" / "weights-0.safetensors"):
        tensors = load_file(other)
        assert all(torch.equal(tensor, tensors[name]) for name, tensor in whole.items())
