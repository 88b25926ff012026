"""Matrix products on a CPU by oneDNN, which PyTorch brings but asks only for reduced precision.

PyTorch gives fp32 products to MKL, whose kernels leave half of the vector units of other makers' processors idle:
oneDNN was 2.1 times as fast on an AMD EPYC with AVX-512. Results differ by rounding only. Small products, other devices
and reduced precision stay where they are.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

_WORTH = 2**24
"""Multiplications from which a product is worth oneDNN's making a kernel for a new shape."""
_PRESENT = torch.backends.mkldnn.is_available()


class Linear(nn.Linear):
    """`nn.Linear` by the faster library."""

    def forward(self, given: Tensor) -> Tensor:
        return linear(given, self.weight, self.bias)


def linear(given: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `F.linear`."""
    if not _is_worth(given, weight):
        return F.linear(given, weight, bias)
    product: Tensor = _Product.apply(given.reshape(-1, given.shape[-1]), weight, bias)  # type: ignore[no-untyped-call]
    return product.view(*given.shape[:-1], weight.shape[0])


def quicken(module: nn.Module) -> None:
    """Make every plain linear layer within `module` a `Linear`; names and weights stay."""
    for layer in module.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = Linear


def _is_worth(given: Tensor, weight: Tensor) -> bool:
    return (
        given.device.type == "cpu"
        and given.dtype == weight.dtype == torch.float32
        and given.numel() * weight.shape[0] >= _WORTH
        and _PRESENT
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


class _Product(torch.autograd.Function):
    """given (T, K) times weight (N, K) transposed, plus bias."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(given, weight)
        return _onednn(given, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        gradient, (given, weight) = gradients[0].contiguous(), ctx.saved_tensors
        to_given, to_weight, to_bias = ctx.needs_input_grad
        return (
            _onednn(gradient, weight.t()) if to_given else None,
            _onednn(gradient.t(), given.t()) if to_weight else None,
            gradient.sum(0) if to_bias else None,
        )


def _counted(left: tuple[int, int], right: tuple[int, int], *_given: object, **_named: object) -> int:
    """What PyTorch's own counter of operations is to count for a product here."""
    return 2 * left[0] * left[1] * right[0]


def _onednn(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    return found


if _PRESENT:
    register_flop_formula(torch.ops.mkldnn._linear_pointwise)(_counted)
