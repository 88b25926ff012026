"""A copy of a training's state in host memory: all that a checkpoint costs the training loop.

The copy's memory is kept and used again, since to ask the system for it would take longer than to fill it. So a copy is
good until the next one is taken.
"""

import copy
from typing import Any

import torch
from torch import Tensor

_PLAIN = (str, bytes, int, float, bool, type(None), torch.Size, torch.dtype)


class Snapshot:
    """Copies trees of dicts, lists and tuples that hold tensors."""

    def __init__(self) -> None:
        self._buffers: list[Tensor] = []
        self._used = 0
        self._copies: dict[tuple[Any, ...], Tensor] = {}

    @torch.no_grad()
    def take(self, tree: Any) -> Any:
        """The tree with every tensor copied, and every other object too that could change. Tensors that are one in the
        tree (tied weights) are one in the copy."""
        self._used = 0
        self._copies = {}
        copied = self._copy(tree)
        self._copies = {}
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return copied

    @property
    def bytes(self) -> int:
        """Of the memory that is kept."""
        return sum(buffer.nbytes for buffer in self._buffers)

    def _copy(self, tree: Any) -> Any:
        if isinstance(tree, Tensor):
            return self._tensor(tree)
        if isinstance(tree, _PLAIN):
            return tree
        if type(tree) is tuple:
            return tuple(self._copy(item) for item in tree)
        if type(tree) is list:
            return [self._copy(item) for item in tree]
        if isinstance(tree, dict):
            # An ordered dict of a module's state carries attributes of which nothing is read again: plain will do.
            return {key: self._copy(value) for key, value in tree.items()}
        return copy.deepcopy(tree)

    def _tensor(self, tensor: Tensor) -> Tensor:
        place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor.device)
        if tensor.numel() and place in self._copies:
            return self._copies[place]
        buffer = self._buffer(tensor)
        buffer.copy_(tensor, non_blocking=True)
        self._copies[place] = buffer
        return buffer

    def _buffer(self, tensor: Tensor) -> Tensor:
        number, self._used = self._used, self._used + 1
        if number < len(self._buffers):
            known = self._buffers[number]
            if (known.shape, known.dtype) == (tensor.shape, tensor.dtype):
                return known
            del self._buffers[number:]  # another tree than before
        fresh = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
        self._buffers.append(fresh)
        return fresh
