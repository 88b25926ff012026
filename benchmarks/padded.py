"""The usual way to train on samples of different lengths, as a twin to measure against: pad, mask, stock layers.

It has the weights of a policy of ours and answers the same losses. The backbone is the transformers library's as it
comes, with its SDPA attention; the expert is ours, padded and masked, by PyTorch's own layers.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from volano.model.backbone import patches
from volano.model.expert import ActionExpert, Block, rotary_tables, rotate, time_features
from volano.model.families import FAMILIES, configuration
from volano.model.flow import interpolate, masked_loss
from volano.model.policy import Batch, Policy


@dataclass(frozen=True, kw_only=True)
class PaddedBatch:
    """What the twin is given: everything it needs is made beforehand."""

    tokens_BS: Tensor
    mask_BS: Tensor
    positions_3BS: Tensor
    is_image_BS: Tensor
    pixels: Tensor
    grid: Tensor
    target_BHK: Tensor
    target_mask_BHK: Tensor


class PaddedTwin(nn.Module):
    """A policy's weights behind padded batches; the policy has neither state token nor AdaLN other than `zero`."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        network = FAMILIES[policy.config.backbone.family].network(configuration(policy.config.backbone, policy.encoder))
        network.load_state_dict(policy.backbone.network.state_dict())
        self.network = network
        self.expert = ActionExpert(
            policy.config.expert, vlm_width=policy.backbone.width, channels=policy.config.channels, state_channels=0
        )
        self.expert.load_state_dict(policy.expert.state_dict())
        self._model = policy.config

    def batch(self, batch: Batch) -> PaddedBatch:
        """The same samples, padded on the right."""
        given, vision = batch.prompted, self._model.backbone.vision
        if len(given.images) != 1 or batch.target_BHK is None or batch.mask_BHK is None:
            raise ValueError("a training batch has images of one size and targets")
        mask = given.packing.mask(torch.device("cpu"))
        tokens = given.packing.padded(given.tokens_T[:, None])[..., 0]
        side = vision.patch_size
        [images] = given.images
        size = [1, images.shape[1] // side, images.shape[2] // side]
        family = FAMILIES[self._model.backbone.family]
        return PaddedBatch(
            tokens_BS=tokens,
            mask_BS=mask,
            positions_3BS=given.packing.padded(given.positions_3T.t()).permute(2, 0, 1),
            is_image_BS=(tokens == self.network.config.image_token_id).int(),
            pixels=patches(images, side, vision.merge, vision.temporal_patch, family),
            grid=torch.tensor([size]).repeat(len(images), 1),
            target_BHK=batch.target_BHK,
            target_mask_BHK=batch.mask_BHK,
        )

    def loss(self, batch: PaddedBatch, noise_BHK: Tensor, tau_B: Tensor) -> Tensor:
        """Flow-matching loss per sample, shape (B,)."""
        states = self.network.model(
            input_ids=batch.tokens_BS,
            attention_mask=batch.mask_BS.long(),
            position_ids=batch.positions_3BS,
            mm_token_type_ids=batch.is_image_BS,
            pixel_values=batch.pixels,
            image_grid_thw=batch.grid,
            use_cache=False,
        ).last_hidden_state
        velocity = self._velocity(interpolate(batch.target_BHK, noise_BHK, tau_B), tau_B, states, batch)
        return masked_loss(velocity, noise_BHK - batch.target_BHK, batch.target_mask_BHK)

    def _velocity(self, noisy_BHK: Tensor, tau_B: Tensor, states_BSV: Tensor, batch: PaddedBatch) -> Tensor:
        expert, (count, rows) = self.expert, noisy_BHK.shape[:2]
        action = _through(expert.action_in, noisy_BHK)
        x_BND = torch.cat((_linear(expert.vlm_in, states_BSV), action), dim=1)
        after = batch.positions_3BS.masked_fill(~batch.mask_BS, 0).amax(dim=(0, 2)) + 1
        behind = (after[:, None] + torch.arange(rows)).expand(3, count, rows)
        positions = torch.cat((batch.positions_3BS, behind), dim=2)
        cos, sin = (table.unflatten(0, (count, -1)) for table in rotary_tables(positions.flatten(1), expert.config))
        mask = torch.cat((batch.mask_BS, batch.mask_BS.new_ones(count, rows)), dim=1)[:, None, None]
        time_BD = _through(expert.time_in, time_features(tau_B, expert.config.time_features))
        for block in expert.blocks:
            assert isinstance(block, Block)
            x_BND = _block(block, x_BND, time_BD, (cos, sin), mask)
        shift, scale = _linear(expert.out_modulation, F.silu(time_BD))[:, None].chunk(2, dim=-1)
        return _through(expert.action_out, _modulate(x_BND[:, -rows:], shift, scale))


def _block(block: Block, x_BND: Tensor, time_BD: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
    vectors = _linear(block.modulation, F.silu(time_BD))[:, None].chunk(6, dim=-1)
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = vectors
    qkv = _linear(block.qkv, _modulate(x_BND, shift_a, scale_a)).unflatten(-1, (3, block.heads, -1))
    q, k = (rotate(part, *rotary).transpose(1, 2) for part in qkv.unbind(2)[:2])
    attended = F.scaled_dot_product_attention(q, k, qkv[:, :, 2].transpose(1, 2), attn_mask=mask)
    x_BND = x_BND + gate_a * _linear(block.out, attended.transpose(1, 2).flatten(2))
    value, gate = _linear(block.up, _modulate(x_BND, shift_m, scale_m)).chunk(2, dim=-1)
    return x_BND + gate_m * _linear(block.down, F.silu(gate) * value)


def _modulate(x_BND: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return F.layer_norm(x_BND, x_BND.shape[-1:]) * (1 + scale) + shift


def _linear(layer: nn.Module, given: Tensor) -> Tensor:
    assert isinstance(layer, nn.Linear)
    return F.linear(given, layer.weight, layer.bias)


def _through(layers: nn.Module, given: Tensor) -> Tensor:
    assert isinstance(layers, nn.Sequential)
    for layer in layers:
        given = _linear(layer, given) if isinstance(layer, nn.Linear) else layer(given)
    return given
