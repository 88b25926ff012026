"""The action expert: a single-stream diffusion transformer over VLM states and a noisy action chunk.

VLM hidden states pass one linear layer and stand in one sequence with the action tokens; every block attends
jointly over all of them and is modulated by the flow time tau (paper section 3). Nothing of it can be cached
across integration steps, since the VLM's tokens see tau too.

Shapes: B batch, S VLM tokens, H action rows, K action channels, D expert width, N = S + H (+ 1 state token).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from volano.model.config import ExpertConfig


def section_axes(sections: tuple[int, int, int]) -> list[int]:
    """Which axis each rotary pair turns by, axes taking turns, so that each gets fast and slow frequencies."""
    left = list(sections)
    axes: list[int] = []
    while any(left):
        for axis in range(3):
            if left[axis]:
                left[axis] -= 1
                axes.append(axis)
    return axes


def rotary_tables(positions_3BN: Tensor, config: ExpertConfig) -> tuple[Tensor, Tensor]:
    """Cosine and sine of shape (B, 1, N, pairs) for multi-section rotary positions; computed, never a buffer."""
    axes = torch.tensor(section_axes(config.rope_sections), device=positions_3BN.device)
    exponent = torch.arange(len(axes), device=positions_3BN.device, dtype=torch.float32) / len(axes)
    frequencies = torch.exp(-math.log(config.rope_theta) * exponent)
    angles_BNP: Tensor = positions_3BN.float()[axes].permute(1, 2, 0) * frequencies
    return angles_BNP.cos()[:, None], angles_BNP.sin()[:, None]


def rotate(x_BhNd: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the leading pairs of each head, leave the rest."""
    pairs = cos.shape[-1]
    first, second, rest = x_BhNd[..., :pairs], x_BhNd[..., pairs : 2 * pairs], x_BhNd[..., 2 * pairs :]
    rotated = (first * cos - second * sin, second * cos + first * sin, rest)
    return torch.cat(rotated, dim=-1)


class Block(nn.Module):
    """Joint self-attention and a feed-forward layer, both modulated by tau."""

    def __init__(self, config: ExpertConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.vectors = 6 if config.modulation == "zero" else 2
        self.modulation = nn.Linear(width, self.vectors * width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gated = config.mlp == "swiglu"
        self.up = nn.Linear(width, (2 if self.gated else 1) * config.mlp_width, bias=False)
        self.down = nn.Linear(config.mlp_width, width, bias=False)

    def forward(self, x_BND: Tensor, time_BD: Tensor, rotary: tuple[Tensor, Tensor], mask_B11N: Tensor) -> Tensor:
        modulation: Tensor = self.modulation(F.silu(time_BD))[:, None]
        vectors = modulation.chunk(self.vectors, dim=-1)
        if self.vectors == 6:
            shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = vectors
            x_BND = x_BND + gate_a * self._attend(_modulate(x_BND, shift_a, scale_a), rotary, mask_B11N)
            return x_BND + gate_m * self._mlp(_modulate(x_BND, shift_m, scale_m))
        shift, scale = vectors
        x_BND = x_BND + self._attend(_modulate(x_BND, shift, scale), rotary, mask_B11N)
        return x_BND + self._mlp(F.layer_norm(x_BND, x_BND.shape[-1:]))

    def _attend(self, x_BND: Tensor, rotary: tuple[Tensor, Tensor], mask_B11N: Tensor) -> Tensor:
        batch, length, width = x_BND.shape
        qkv = self.qkv(x_BND).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = rotate(qkv[0], *rotary), rotate(qkv[1], *rotary), qkv[2]
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_B11N)
        out: Tensor = self.out(attended.transpose(1, 2).reshape(batch, length, width))
        return out

    def _mlp(self, x_BND: Tensor) -> Tensor:
        if self.gated:
            value, gate = self.up(x_BND).chunk(2, dim=-1)
            out: Tensor = self.down(F.silu(gate) * value)
        else:
            out = self.down(F.gelu(self.up(x_BND), approximate="tanh"))
        return out


class ActionExpert(nn.Module):
    """Velocity field over action chunks, conditioned on VLM states."""

    def __init__(self, config: ExpertConfig, *, vlm_width: int, channels: int, state_channels: int) -> None:
        """`state_channels` = 0 builds no state token."""
        super().__init__()
        self.config = config
        width = config.width
        self.vlm_in = nn.Linear(vlm_width, width)
        self.action_in = nn.Sequential(nn.Linear(channels, width), nn.SiLU(), nn.Linear(width, width))
        self.state_in = nn.Linear(state_channels, width) if state_channels else None
        self.time_in = nn.Sequential(nn.Linear(config.time_features, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.out_modulation = nn.Linear(width, 2 * width)
        self.action_out = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, channels))
        self._start_as_identity()

    def _start_as_identity(self) -> None:
        for block in self.blocks:
            assert isinstance(block, Block)
            nn.init.zeros_(block.modulation.weight)
            nn.init.zeros_(block.modulation.bias)
        nn.init.zeros_(self.out_modulation.weight)
        nn.init.zeros_(self.out_modulation.bias)

    def forward(
        self,
        noisy_BHK: Tensor,
        tau_B: Tensor,
        vlm_BSV: Tensor,
        vlm_positions_3BS: Tensor,
        vlm_mask_BS: Tensor,
        state_BC: Tensor | None,
    ) -> Tensor:
        """The velocity (noise minus clean) of shape (B, H, K)."""
        action_BHD = self.action_in(noisy_BHK)
        if self.state_in is not None and state_BC is not None:
            action_BHD = torch.cat((self.state_in(state_BC)[:, None], action_BHD), dim=1)
        batch, rows = action_BHD.shape[:2]
        x_BND = torch.cat((self.vlm_in(vlm_BSV), action_BHD), dim=1)
        after = vlm_positions_3BS.masked_fill(~vlm_mask_BS, 0).amax(dim=(0, 2)) + 1
        action_positions = (after[:, None] + torch.arange(rows, device=x_BND.device)).expand(3, batch, rows)
        rotary = rotary_tables(torch.cat((vlm_positions_3BS, action_positions), dim=2), self.config)
        mask = torch.cat((vlm_mask_BS, vlm_mask_BS.new_ones(batch, rows)), dim=1)[:, None, None]
        time_BD = self.time_in(time_features(tau_B, self.config.time_features))
        for block in self.blocks:
            x_BND = block(x_BND, time_BD, rotary, mask)
        shift, scale = self.out_modulation(F.silu(time_BD))[:, None].chunk(2, dim=-1)
        out: Tensor = self.action_out(_modulate(x_BND[:, -noisy_BHK.shape[1] :], shift, scale))
        return out


def time_features(tau_B: Tensor, width: int) -> Tensor:
    """Sinusoids of tau (scaled by 1000), shape (B, width)."""
    half = width // 2
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half, device=tau_B.device, dtype=torch.float32) / half)
    angles = 1000.0 * tau_B.float()[:, None] * frequencies
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


def _modulate(x_BND: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return F.layer_norm(x_BND, x_BND.shape[-1:]) * (1 + scale) + shift
