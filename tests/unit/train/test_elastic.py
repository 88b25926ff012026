"""Muon's momentum is laid out like the weights whatever the workers hold of it, and a conversion is made once."""

from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from volano.train.checkpoint import read_record, write_record
from volano.train.elastic import UNIVERSAL, _sliced, make_universal, own_steps


def partitions(sizes: list[int], world: int) -> list[OrderedDict[str, SimpleNamespace]]:
    """How ZeRO 1 cuts parameters of these sizes, one after another, into parts of one length."""
    length = -(-sum(sizes) // world)
    found = []
    for rank in range(world):
        held: OrderedDict[str, SimpleNamespace] = OrderedDict()
        begin = 0
        for name, size in enumerate(sizes):
            first, last = max(begin, rank * length), min(begin + size, (rank + 1) * length)
            if first < last:
                held[str(name)] = SimpleNamespace(start=first - rank * length, numel=last - first)
            begin += size
        found.append(held)
    return found


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 5))
def test_slices_of_the_momentum_put_together_are_the_momentum(sizes: list[int], world: int) -> None:
    shapes = {str(name): torch.Size([size]) for name, size in enumerate(sizes)}
    momentum = {name: 100 * int(name) + torch.arange(shape.numel()) + 1.0 for name, shape in shapes.items()}
    done: dict[str, int] = {}
    joined = []
    length = -(-sum(sizes) // world)
    for held in partitions(sizes, world):
        numbers = sum(fragment.numel for fragment in held.values())
        whole = torch.cat([momentum[name] for name in held]) if held else None
        state: dict[str, Any] = {
            "single_partition_of_fp32_groups": [torch.zeros(numbers)],
            "param_slice_mappings": [held],
            "group_paddings": [length - numbers],
        }
        joined.append(_sliced(whole, state, 0, shapes, done))
    assert all(part.numel() == length for part in joined), "the loader cuts its padding off from slices of one length"
    assert torch.equal(torch.cat(joined)[: sum(sizes)], torch.cat(list(momentum.values())))
    assert done == {name: shape.numel() for name, shape in shapes.items()}


def test_a_conversion_that_stands_there_is_not_made_again_and_a_damaged_one_is(tmp_path: Path) -> None:
    target = tmp_path / UNIVERSAL
    (target / "state").mkdir(parents=True)
    (target / "state" / "fp32.pt").write_bytes(b"weights")
    write_record(target, {})
    make_universal(tmp_path, zero_stage=2, offload=False)
    assert read_record(target) is not None
    (target / "state" / "fp32.pt").write_bytes(b"weighty")
    with pytest.raises(FileNotFoundError):  # there is no state to convert
        make_universal(tmp_path, zero_stage=2, offload=False)
    assert read_record(target) is None


def test_every_state_counts_its_own_steps() -> None:
    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = torch.optim.AdamW([{"params": [parameter]} for parameter in parameters])
    shared = torch.tensor(3.0)
    for parameter in parameters:
        parameter.grad = torch.ones(2)
        optimizer.state[parameter] = {"step": shared, "exp_avg": torch.zeros(2), "exp_avg_sq": torch.zeros(2)}
    own_steps(optimizer)
    optimizer.step()
    assert [float(state["step"]) for state in optimizer.state.values()] == [4.0, 4.0]
