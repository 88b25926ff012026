"""The other library's products and gradients are the same numbers."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from volano.model.products import Linear, linear, quicken


@pytest.mark.parametrize("bias", [True, False])
def test_large_products_and_their_gradients_are_those_of_the_stock_layer(bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    given, weight = torch.randn(2, 150, 256, generator=generator), torch.randn(300, 256, generator=generator)
    gradient, offset = torch.randn(2, 150, 300, generator=generator), torch.randn(300, generator=generator)
    found, expected = (_all(f, given, weight, offset if bias else None, gradient) for f in (linear, F.linear))
    node = linear(given, weight.clone().requires_grad_()).grad_fn
    assert node is not None
    assert "_Product" in str(node.next_functions)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-5)


def _all(function: object, *given: Tensor | None) -> list[Tensor]:
    *inputs, gradient = given
    leaves = [x.clone().requires_grad_() for x in inputs if x is not None]
    product = function(*leaves)  # type: ignore[operator]
    return [product, *torch.autograd.grad(product, leaves, gradient)]


def test_reduced_precision_stays_with_the_stock_layer() -> None:
    layer = Linear(512, 512)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(512, 512)).dtype == torch.bfloat16


def test_quickened_layers_keep_names_and_weights() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    quicken(network)
    assert isinstance(network[0], Linear)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
