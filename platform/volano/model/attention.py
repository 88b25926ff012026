"""Attention within each sample of a packed row: PyTorch's fused kernels, or on a CPU without them the plain form.

The fused kernel's backward pass on a CPU is several times slower than matrix products on sequences of some dozens to
hundreds of tokens; PyTorch's own plain form spends more on safeguards against fully masked rows, which no sample has,
and on repeating keys for grouped heads than on those products. Sums are in fp32.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from volano.model.packing import Packing, uncompiled

Mask = Callable[[int], Tensor | None]
"""What the tokens of a sample of a length see: bool, shape (length, length); None for everything."""


def everything(_length: int) -> Tensor | None:
    """Every token sees every other."""
    return None


@uncompiled
def attend(
    packing: Packing,
    query_ThW: Tensor,
    key_ThW: Tensor,
    value_ThW: Tensor,
    *,
    scale: float | None = None,
    causal: bool = False,
    mask: Mask = everything,
) -> Tensor:
    """Shape (T, heads * width); fewer heads of keys and values serve several queries'."""
    scale = query_ThW.shape[-1] ** -0.5 if scale is None else scale
    if query_ThW.device.type == "cpu" and not torch.backends.cuda.flash_sdp_enabled():  # of every device's kernels
        seen = _triangle if causal else mask
        plain: Tensor = _Plain.apply(query_ThW, key_ThW, value_ThW, packing, scale, seen)  # type: ignore[no-untyped-call]
        return plain.flatten(1)
    outputs = []
    for q, k, v in zip(*(packing.split(x) for x in (query_ThW, key_ThW, value_ThW)), strict=True):
        attended = F.scaled_dot_product_attention(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            attn_mask=mask(q.shape[1]),
            is_causal=causal,
            scale=scale,
            enable_gqa=q.shape[2] != k.shape[2],
        )
        outputs.append(attended.transpose(1, 2))
    return packing.join(outputs).flatten(1)


def _triangle(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril()


class _Plain(torch.autograd.Function):
    """softmax(scale * query key^T) value, of rows (T, heads, width)."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, packing: Packing, scale: float, seen: Mask
    ) -> Tensor:
        out, kept = torch.empty(query.shape, dtype=query.dtype), []
        groups = key.shape[1]
        with torch.autocast("cpu", enabled=False):
            for q, k, v, made in zip(*(packing.split(x) for x in (query, key, value, out)), strict=True):
                shares = _shares(seen(q.shape[1]), _batched(q, groups), _batched(k, groups), scale)
                _unbatched(torch.bmm(shares, _batched(v, groups)), made)
                kept.append(shares)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.packing, ctx.scale = packing, scale
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        query, key, value, *kept = ctx.saved_tensors
        rows, groups = (query, key, value), key.shape[1]
        found = tuple(torch.empty(x.shape, dtype=x.dtype) for x in rows)
        runs = zip(*(ctx.packing.split(x) for x in (*rows, gradients[0], *found)), kept, strict=True)
        with torch.autocast("cpu", enabled=False):
            for q, k, v, came, to_query, to_key, to_value, shares in runs:
                q_, k_, v_, came_ = (_batched(x, groups) for x in (q, k, v, came))
                _unbatched(torch.bmm(shares.mT, came_), to_value)
                to_shares = torch.bmm(came_, v_.mT)
                to_scores = torch._softmax_backward_data(to_shares, shares, -1, torch.float32)
                _unbatched(_scaled(to_scores, k_, ctx.scale), to_query)
                _unbatched(_scaled(to_scores.mT, q_, ctx.scale), to_key)
        return found[0], found[1], found[2], None, None, None


def _shares(seen: Tensor | None, query: Tensor, key: Tensor, scale: float) -> Tensor:
    """How much each token takes from each other."""
    if seen is None:
        return torch.softmax(_scaled(query, key.mT, scale), dim=-1)
    hidden = torch.zeros(seen.shape).masked_fill_(~seen, -torch.inf).repeat(query.shape[1] // seen.shape[0], 1)
    shares: Tensor = torch.softmax(torch.baddbmm(hidden, query, key.mT, alpha=scale), dim=-1)
    return shares


def _scaled(left: Tensor, right: Tensor, scale: float) -> Tensor:
    return torch.baddbmm(left.new_empty(1), left, right, beta=0, alpha=scale)


def _batched(run: Tensor, groups: int) -> Tensor:
    """(samples, length, heads, width) as (samples * groups, heads a group * length, width), fp32: the heads that share
    a key stand behind each other."""
    apart = run.unflatten(2, (groups, -1)).permute(0, 2, 3, 1, 4)
    rows: Tensor = apart.reshape(run.shape[0] * groups, -1, run.shape[3])
    return rows.float()


def _unbatched(found: Tensor, run: Tensor) -> None:
    """Write what `_batched` gave back into a run, a group's heads side by side."""
    samples, length, heads, width = run.shape
    groups = found.shape[0] // samples
    apart = found.view(samples, groups, heads // groups, length, width)
    run.unflatten(2, (groups, -1)).copy_(apart.permute(0, 3, 1, 2, 4))
