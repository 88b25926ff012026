"""Samples of different lengths in one row of tokens, without padding.

Samples stand in order of length, so that those of one length are neighbours: a run. Matrix products, norms and
activations take the whole row at once; what depends on the sample (attention, modulation) takes run after run, each a
view of shape (samples, length, width). So no operation is spent on padding, and none needs a mask.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., object])


def uncompiled(function: Function) -> Function:
    """Keep a function out of compiled code, which would be compiled anew for every composition of a batch."""
    kept: Function = torch.compiler.disable(function)
    return kept


@dataclass(frozen=True, kw_only=True)
class Run:
    """Neighbouring samples of one length."""

    first: int
    """Number of its first sample."""
    count: int
    length: int

    @property
    def tokens(self) -> int:
        """Of all its samples."""
        return self.count * self.length


@dataclass(frozen=True)
class Packing:
    """Where each sample's tokens stand in the row."""

    lengths: tuple[int, ...]
    """Tokens of each sample, in the order of the row. Any order works; sorted ones make the fewest runs."""

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """Neighbours of one length, in order."""
        found, first = [], 0
        for length, group in groupby(self.lengths):
            count = len(list(group))
            found.append(Run(first=first, count=count, length=length))
            first += count
        return tuple(found)

    def split(self, tokens: Tensor, dim: int = 0) -> Iterator[Tensor]:
        """Each run of a row, its tokens along `dim` as two dimensions (samples, length)."""
        sizes = [run.tokens for run in self.runs]
        for run, piece in zip(self.runs, tokens.split(sizes, dim), strict=True):
            yield piece.unflatten(dim, (run.count, run.length))

    def join(self, pieces: Iterable[Tensor]) -> Tensor:
        """The row of which `pieces` are the runs, each (samples, length, ...)."""
        found = [piece.flatten(0, 1) for piece in pieces]
        return found[0] if len(found) == 1 else torch.cat(found)

    def longer(self, rows: int) -> "Packing":
        """Each sample with `rows` more tokens behind it."""
        return Packing(tuple(length + rows for length in self.lengths))

    def repeated(self, times: int) -> "Packing":
        """Each sample `times` times, one copy behind the other."""
        return Packing(tuple(length for length in self.lengths for _ in range(times)))

    def padded(self, tokens_TD: Tensor) -> Tensor:
        """Shape (samples, longest, D), zero behind a sample's end."""
        longest = max(self.lengths)
        return torch.cat([F.pad(x, (0, 0, 0, longest - x.shape[1])) for x in self.split(tokens_TD)])

    def unpadded(self, tokens_BSD: Tensor) -> Tensor:
        """The row of which `tokens_BSD` is the padded form."""
        pieces = tokens_BSD.split([run.count for run in self.runs])
        return self.join(piece[:, : run.length] for piece, run in zip(pieces, self.runs, strict=True))

    def mask(self, device: torch.device) -> Tensor:
        """Which tokens of the padded form are none of the padding: bool, shape (samples, longest)."""
        lengths = torch.tensor(self.lengths, device=device)
        return torch.arange(max(self.lengths), device=device) < lengths[:, None]

    def appended(self, tokens_TD: Tensor, rows_BRD: Tensor) -> Tensor:
        """The row with each sample's `rows_BRD` behind its tokens: that of `longer`."""
        runs = rows_BRD.split([run.count for run in self.runs])
        return self.join(torch.cat(both, dim=1) for both in zip(self.split(tokens_TD), runs, strict=True))

    def last(self, tokens_TD: Tensor, rows: int) -> Tensor:
        """The last `rows` tokens of each sample, shape (samples, rows, D)."""
        return torch.cat([piece[:, -rows:] for piece in self.split(tokens_TD)])


@uncompiled
def modulated(packing: Packing, tokens_TD: Tensor, shift_BD: Tensor, scale_BD: Tensor) -> Tensor:
    """tokens * (1 + scale) + shift, by each sample's own shift and scale."""
    found: Tensor = _Modulated.apply(tokens_TD, shift_BD, scale_BD, packing)  # type: ignore[no-untyped-call]
    return found


@uncompiled
def gated(packing: Packing, tokens_TD: Tensor, gate_BD: Tensor, added_TD: Tensor) -> Tensor:
    """tokens + gate * added, by each sample's own gate."""
    found: Tensor = _Gated.apply(tokens_TD, gate_BD, added_TD, packing)  # type: ignore[no-untyped-call]
    return found


def _runs(packing: Packing, *rows: Tensor) -> Iterator[tuple[slice, tuple[Tensor, ...]]]:
    """For each run its samples, and its views of the rows."""
    for run, views in zip(packing.runs, zip(*(packing.split(row) for row in rows), strict=True), strict=True):
        yield slice(run.first, run.first + run.count), views


class _Modulated(torch.autograd.Function):
    """Written out, so that neither direction copies a row or makes a sample's vectors as long as its tokens."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, shift: Tensor, scale: Tensor, packing: Packing) -> Tensor:
        ctx.save_for_backward(tokens, scale)
        ctx.packing, ctx.dtypes = packing, (tokens.dtype, shift.dtype, scale.dtype)
        out = tokens.new_empty(tokens.shape, dtype=_common(tokens, shift, scale))
        factor, shift = (1 + scale)[:, None].to(out.dtype), shift[:, None].to(out.dtype)
        for samples, (given, made) in _runs(packing, tokens.to(out.dtype), out):
            torch.addcmul(shift[samples], given, factor[samples], out=made)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        gradient, (tokens, scale) = gradients[0], ctx.saved_tensors
        to_tokens = torch.empty_like(gradient)
        to_shift, to_scale = (gradient.new_empty(scale.shape) for _ in range(2))
        factor = (1 + scale)[:, None].to(gradient.dtype)
        for samples, (given, came, goes) in _runs(ctx.packing, tokens.to(gradient.dtype), gradient, to_tokens):
            torch.sum(came, dim=1, out=to_shift[samples])
            torch.mul(came, given, out=goes)
            torch.sum(goes, dim=1, out=to_scale[samples])
            torch.mul(came, factor[samples], out=goes)
        first, second, third = ctx.dtypes
        return to_tokens.to(first), to_shift.to(second), to_scale.to(third), None


class _Gated(torch.autograd.Function):
    """As `_Modulated`."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, gate: Tensor, added: Tensor, packing: Packing) -> Tensor:
        ctx.save_for_backward(gate, added)
        ctx.packing, ctx.dtypes = packing, (tokens.dtype, gate.dtype, added.dtype)
        out = tokens.new_empty(tokens.shape, dtype=_common(tokens, gate, added))
        wide = gate[:, None].to(out.dtype)
        for samples, (given, more, made) in _runs(packing, tokens.to(out.dtype), added.to(out.dtype), out):
            torch.addcmul(given, wide[samples], more, out=made)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        gradient, (gate, added) = gradients[0], ctx.saved_tensors
        to_added, to_gate = torch.empty_like(gradient), gradient.new_empty(gate.shape)
        wide = gate[:, None].to(gradient.dtype)
        for samples, (more, came, goes) in _runs(ctx.packing, added.to(gradient.dtype), gradient, to_added):
            torch.mul(came, more, out=goes)
            torch.sum(goes, dim=1, out=to_gate[samples])
            torch.mul(came, wide[samples], out=goes)
        first, second, third = ctx.dtypes
        return gradient.to(first), to_gate.to(second), to_added.to(third), None


def _common(*tensors: Tensor) -> torch.dtype:
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def sorted_order(lengths: Sequence[int]) -> list[int]:
    """Which sample stands first in a row, which second, and so on."""
    return sorted(range(len(lengths)), key=lengths.__getitem__)
