"""A snapshot is what the state was, whatever becomes of the state, in memory that is asked for once."""

from collections import OrderedDict

import torch
from torch import nn

from volano.train.snapshot import Snapshot


def test_a_copy_does_not_change_with_its_original() -> None:
    weight = nn.Parameter(torch.arange(6.0).reshape(2, 3))
    counts = {"seen": [1, 2]}
    state = OrderedDict(weight=weight, turned=weight.detach().T, rest=(weight, 3, None, "text"), counts=counts)
    copied = Snapshot().take(state)
    with torch.no_grad():
        weight.add_(1)
    counts["seen"].append(3)
    assert copied["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert copied["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert copied["rest"][0] is copied["weight"], "tied stays tied"
    assert copied["rest"][1:] == (3, None, "text")
    assert copied["counts"] == {"seen": [1, 2]}


def test_the_next_copy_takes_no_new_memory_unless_the_state_is_another() -> None:
    snapshot = Snapshot()
    first = snapshot.take({"a": torch.zeros(4), "b": [torch.ones(2, dtype=torch.int64)]})
    second = snapshot.take({"a": torch.full((4,), 2.0), "b": [torch.zeros(2, dtype=torch.int64)]})
    assert second["a"] is first["a"]
    assert first["a"].tolist() == [2.0] * 4
    third = snapshot.take({"a": torch.zeros(4), "b": [torch.zeros(3)], "c": torch.zeros(5)})
    assert third["a"] is first["a"]
    assert third["c"].shape == (5,)
    assert snapshot.bytes == 4 * (4 + 3 + 5)


def test_empty_tensors_are_not_taken_for_each_other() -> None:
    copied = Snapshot().take([torch.empty(0), torch.empty(0, dtype=torch.int64), torch.empty(0, 3)])
    assert [(one.dtype, tuple(one.shape)) for one in copied] == [
        (torch.float32, (0,)),
        (torch.int64, (0,)),
        (torch.float32, (0, 3)),
    ]
