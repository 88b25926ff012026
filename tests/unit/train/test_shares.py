"""Any number of workers trains what one does: the same samples with the same noise, and gradients that add up."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.model.tiny import tiny_policy
from tests.unit.train.test_loop import EPISODES
from volano.model.flow import Share
from volano.train.feed import Feed

POLICY = tiny_policy()
BATCH = 5
FEED = Feed(EPISODES, POLICY.codecs, shares={}, batch=BATCH, images=False, seed=0)


def losses(rank: int, world: int) -> torch.Tensor:
    share = Share(first=rank, every=world, total=BATCH)
    samples = FEED.samples(3, rank, world)
    assert len(samples) == len(share)
    return POLICY.loss(POLICY.batch(samples), "beta_clean", torch.Generator().manual_seed(7), share=share)


def test_the_share_of_a_single_worker_changes_no_bit() -> None:
    generator = torch.Generator().manual_seed(7)
    assert torch.equal(losses(0, 1), POLICY.loss(POLICY.batch(FEED.samples(3, 0, 1)), "beta_clean", generator))


@pytest.mark.parametrize("world", [2, 3, 4, 5])
def test_a_sample_has_the_same_loss_whoever_has_it_and_weighted_means_have_the_gradient_of_the_whole(
    world: int,
) -> None:
    whole = losses(0, 1)
    gradient = torch.autograd.grad(whole.mean(), list(POLICY.expert.parameters()))
    summed = [torch.zeros_like(part) for part in gradient]
    for rank in range(world):
        own = losses(rank, world)
        torch.testing.assert_close(own, whole[rank::world], atol=1e-6, rtol=1e-5)
        weighted = own.mean() * (len(own) * world / BATCH)
        for total, part in zip(summed, torch.autograd.grad(weighted, list(POLICY.expert.parameters())), strict=True):
            total += part / world  # as DeepSpeed averages over workers
    for total, part in zip(summed, gradient, strict=True):
        torch.testing.assert_close(total, part, atol=1e-6, rtol=1e-4)


@given(st.integers(1, 12), st.integers(1, 9), st.integers(1, 3))
def test_shares_hold_every_row_of_every_draw_once(total: int, world: int, draws: int) -> None:
    drawn = torch.arange(draws * total)
    shares = [Share(first=rank, every=world, total=total) for rank in range(world)]
    parts = [share.of(drawn, draws) for share in shares]
    assert [len(part) for part in parts] == [draws * len(share) for share in shares]
    assert sorted(torch.cat(parts).tolist()) == drawn.tolist()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
