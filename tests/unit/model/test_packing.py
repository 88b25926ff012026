"""What packed samples answer is what each answers alone, and what the library's padded batch answers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.unit.model.tiny import sample, tiny_backbone, tiny_policy
from volano.embodiment.contract import Camera
from volano.embodiment.shipped import SHIPPED
from volano.model.attention import attend
from volano.model.backbone import patches, positions
from volano.model.config import BackboneFamily
from volano.model.families import FAMILIES, configuration
from volano.model.packing import Packing, gated, modulated

TAGS = ("car", "sawyer", "scout", "car")


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_a_row_split_and_joined_or_padded_and_unpadded_is_the_row(lengths: list[int]) -> None:
    packing, row = Packing(tuple(lengths)), torch.randn(sum(lengths), 3)
    assert torch.equal(packing.join(packing.split(row)), row)
    assert torch.equal(packing.unpadded(packing.padded(row)), row)
    assert packing.padded(row)[packing.mask(row.device)].equal(row)
    rows = torch.randn(len(lengths), 2, 3)
    assert torch.equal(packing.longer(2).last(packing.appended(row, rows), 2), rows)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("plain", [False, True])
def test_attention_and_its_gradients_are_each_samples_own(causal: bool, plain: bool) -> None:
    packing, generator = Packing((2, 2, 5)), torch.Generator().manual_seed(0)
    query = torch.randn(9, 4, 8, generator=generator, requires_grad=True)
    key, value = (torch.randn(9, 2, 8, generator=generator, requires_grad=True) for _ in range(2))
    with sdpa_kernel(SDPBackend.MATH if plain else SDPBackend.FLASH_ATTENTION):
        found = attend(packing, query, key, value, scale=0.3, causal=causal)
    expected, begin = [], 0
    for length in packing.lengths:
        q, k, v = (x[begin : begin + length].transpose(0, 1) for x in (query, key, value))
        k, v = (x.repeat_interleave(2, 0) for x in (k, v))
        alone = F.scaled_dot_product_attention(q, k, v, scale=0.3, is_causal=causal)
        expected.append(alone.transpose(0, 1).flatten(1))
        begin += length
    torch.testing.assert_close(found, torch.cat(expected))
    towards, inputs = torch.randn(9, 32, generator=generator), (query, key, value)
    gradients = (torch.autograd.grad(x, inputs, towards) for x in (found, torch.cat(expected)))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_modulation_and_its_gradients_are_those_of_broadcasting() -> None:
    packing = Packing((1, 1, 3, 2))
    row, added = (torch.randn(7, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    shift, scale = (torch.randn(4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda *given: modulated(packing, *given), (row, shift, scale))
    assert torch.autograd.gradcheck(lambda *given: gated(packing, *given), (row, scale, added))
    owners = torch.repeat_interleave(torch.tensor(packing.lengths))
    torch.testing.assert_close(modulated(packing, row, shift, scale), row * (1 + scale[owners]) + shift[owners])
    torch.testing.assert_close(gated(packing, row, scale, added), row + scale[owners] * added)


EGO = Camera(name="ego", height=64, width=64)
ROBOTS = {**SHIPPED, "sawyer": replace(SHIPPED["sawyer"], cameras=(EGO, replace(EGO, name="wrist")))}
SIDES = {"one size": [(64, 64)] * 4, "several sizes": [(64, 64), (32, 96), (32, 96), (96, 64)]}


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_states_and_positions_are_those_of_the_librarys_padded_batch(family: BackboneFamily, sides: str) -> None:
    policy, samples = tiny_policy(robots=ROBOTS, backbone=tiny_backbone(family)).eval(), []
    for seed, (tag, (height, width)) in enumerate(zip(TAGS, SIDES[sides], strict=True)):
        random = np.random.default_rng(seed)
        views = [(height, width), SIDES[sides][-1]] if tag == "sawyer" else [(height, width)]
        pictures = tuple(random.integers(0, 256, (*view, 3), np.uint8) for view in views)
        samples.append(replace(sample(tag, seed=seed), images=pictures))
    backbone, batch = policy.backbone, policy.batch(samples).prompted
    assert len(batch.images) == 1 or sides == "several sizes"
    stock: Any = FAMILIES[family].network(configuration(backbone.config, policy.encoder))
    stock.eval()
    stock.load_state_dict(backbone.network.state_dict())
    flat = torch.cat([patches(some, 16, 2, 2, FAMILIES[family]) for some in batch.images])
    grid = torch.tensor([[1, some.shape[1] // 16, some.shape[2] // 16] for some in batch.images for _ in some])
    tokens, mask = _padded(batch.packing, batch.tokens_T), batch.packing.mask(torch.device("cpu"))
    types = (tokens == stock.config.image_token_id).int()
    placed, _ = stock.model.get_rope_index(tokens, types, image_grid_thw=grid, attention_mask=mask.long())
    assert torch.equal(placed[:, mask], batch.positions_3T)
    with torch.no_grad():
        expected = stock.model(
            input_ids=tokens,
            attention_mask=mask.long(),
            position_ids=placed,
            mm_token_type_ids=types,
            pixel_values=flat,
            image_grid_thw=grid,
        ).last_hidden_state
        torch.testing.assert_close(backbone(batch).states_TV, expected[mask], atol=1e-5, rtol=0)


def test_words_behind_an_image_count_on_from_its_longer_side() -> None:
    is_image = np.array([False] + [True] * 6 + [False])
    assert positions(is_image, iter([(2, 3)])).tolist() == [
        [0, 1, 1, 1, 1, 1, 1, 4],
        [0, 1, 1, 1, 2, 2, 2, 4],
        [0, 1, 2, 3, 1, 2, 3, 4],
    ]


def _padded(packing: Packing, tokens_T: Tensor) -> Tensor:
    return packing.padded(tokens_T[:, None])[..., 0]
