"""The action expert: a single-stream diffusion transformer over VLM states and a noisy action chunk.

VLM hidden states pass one linear layer and stand in one sequence with the action tokens; every block attends
jointly over all of them and is modulated by the flow time tau (paper section 3). Nothing of it can be cached
across integration steps, since the VLM's tokens see tau too. Samples stand packed behind each other, without padding.

Shapes: B samples, T VLM tokens of all samples, H action rows, K action channels, D expert width, R = H (+ 1 state
token), N = T + B R tokens of the packed streams, each a sample's prompt and then its actions.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from volano.model.attention import attend
from volano.model.backbone import Hidden
from volano.model.config import Attention, ExpertConfig
from volano.model.packing import Packing, gated, modulated
from volano.model.products import Linear


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


def rotary_tables(positions_3N: Tensor, config: ExpertConfig) -> tuple[Tensor, Tensor]:
    """Cosine and sine of shape (N, 1, pairs) for multi-section rotary positions; computed, never a buffer."""
    axes = torch.tensor(section_axes(config.rope_sections), device=positions_3N.device)
    exponent = torch.arange(len(axes), device=positions_3N.device, dtype=torch.float32) / len(axes)
    frequencies = torch.exp(-math.log(config.rope_theta) * exponent)
    angles_NP: Tensor = positions_3N.float()[axes].t() * frequencies
    return angles_NP.cos()[:, None], angles_NP.sin()[:, None]


def rotate(x_Nhd: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the leading pairs of each head, leave the rest."""
    pairs = cos.shape[-1]
    first, second, rest = x_Nhd[..., :pairs], x_Nhd[..., pairs : 2 * pairs], x_Nhd[..., 2 * pairs :]
    rotated = (first * cos - second * sin, second * cos + first * sin, rest)
    return torch.cat(rotated, dim=-1)


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Times of single tokens, where a sample's are not all the same."""

    tau_B: Tensor
    """Every time that there is: the samples' own, and behind them the clean end for each."""
    number_N: Tensor
    """Which of them each token of the streams has, int64."""
    tokens: Packing
    """Every token by itself."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """How the tokens of a batch stand in their row."""

    packing: Packing
    rows: int
    """Tokens behind each prompt."""
    attention: Attention
    device: torch.device
    clock: Clock | None = None
    """None where all tokens of a sample have its time."""

    def seen(self, length: int) -> Tensor | None:
        """What each token of a sample of `length` may see: bool, shape (length, length); None for everything."""
        if self.attention == "joint":
            return None
        order, words = torch.arange(length, device=self.device), length - self.rows
        return (order[:, None] >= words) | (order[None] < words)


class Block(nn.Module):
    """Joint self-attention and a feed-forward layer, both modulated by tau."""

    def __init__(self, config: ExpertConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.vectors = 6 if config.modulation == "zero" else 2
        self.modulation = Linear(width, self.vectors * width)
        self.qkv = Linear(width, 3 * width, bias=False)
        self.out = Linear(width, width, bias=False)
        self.gated = config.mlp == "swiglu"
        self.up = Linear(width, (2 if self.gated else 1) * config.mlp_width, bias=False)
        self.down = Linear(config.mlp_width, width, bias=False)

    def forward(self, x_ND: Tensor, time_BD: Tensor, rotary: tuple[Tensor, Tensor], stream: Stream) -> Tensor:
        modulation: Tensor = self.modulation(F.silu(time_BD))
        packing = stream.packing
        if stream.clock is not None:
            modulation, packing = modulation[stream.clock.number_N], stream.clock.tokens
        vectors = modulation.chunk(self.vectors, dim=-1)
        if self.vectors == 6:
            shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = vectors
            attended = self._attend(_modulate(packing, x_ND, shift_a, scale_a), rotary, stream)
            x_ND = gated(packing, x_ND, gate_a, attended)
            return gated(packing, x_ND, gate_m, self._mlp(_modulate(packing, x_ND, shift_m, scale_m)))
        x_ND = x_ND + self._attend(_modulate(packing, x_ND, *vectors), rotary, stream)
        return x_ND + self._mlp(F.layer_norm(x_ND, x_ND.shape[-1:]))

    def _attend(self, x_ND: Tensor, rotary: tuple[Tensor, Tensor], stream: Stream) -> Tensor:
        q, k, v = self.qkv(x_ND).view(x_ND.shape[0], 3, self.heads, -1).unbind(1)
        attended = attend(stream.packing, rotate(q, *rotary), rotate(k, *rotary), v, mask=stream.seen)
        out: Tensor = self.out(attended)
        return out

    def _mlp(self, x_ND: Tensor) -> Tensor:
        if self.gated:
            value, gate = self.up(x_ND).chunk(2, dim=-1)
            out: Tensor = self.down(F.silu(gate) * value)
        else:
            out = self.down(F.gelu(self.up(x_ND), approximate="tanh"))
        return out


class ActionExpert(nn.Module):
    """Velocity field over action chunks, conditioned on VLM states."""

    def __init__(self, config: ExpertConfig, *, vlm_width: int, channels: int, state_channels: int) -> None:
        """`state_channels` = 0 builds no state token."""
        super().__init__()
        self.config = config
        width = config.width
        self.vlm_in = Linear(vlm_width, width)
        self.action_in = nn.Sequential(Linear(channels, width), nn.SiLU(), Linear(width, width))
        self.state_in = Linear(state_channels, width) if state_channels else None
        self.time_in = nn.Sequential(Linear(config.time_features, width), nn.SiLU(), Linear(width, width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.out_modulation = Linear(width, 2 * width)
        self.action_out = nn.Sequential(Linear(width, width), nn.SiLU(), Linear(width, channels))
        self.recompute = False
        """Make a block's activations again in the backward pass."""
        self._start_as_identity()

    def compile_blocks(self) -> None:
        """Compile each block; names of weights stay."""
        for block in self.blocks:
            block.compile()

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
        hidden: Hidden,
        state_BC: Tensor | None,
        clean_BH: Tensor | None = None,
    ) -> Tensor:
        """The velocity (noise minus clean) of shape (B, H, K); rows of `clean_BH` (bool) are given at tau = 0, and
        nothing is promised about theirs."""
        action_BRD = self.action_in(noisy_BHK)
        if self.state_in is not None and state_BC is not None:
            action_BRD = torch.cat((self.state_in(state_BC)[:, None], action_BRD), dim=1)
        rows = action_BRD.shape[1]
        x_ND = hidden.packing.appended(self.vlm_in(hidden.states_TV), action_BRD)
        rotary = rotary_tables(self._positions(hidden, rows), self.config)
        clock = None if clean_BH is None else _clock(hidden.packing, rows, tau_B, clean_BH)
        stream = Stream(
            packing=hidden.packing.longer(rows),
            rows=rows,
            attention=self.config.attention,
            device=x_ND.device,
            clock=clock,
        )
        times_B = tau_B if clock is None else clock.tau_B
        time_BD = self.time_in(time_features(times_B, self.config.time_features))
        for block in self.blocks:
            if self.recompute and torch.is_grad_enabled():
                x_ND = checkpoint(block, x_ND, time_BD, rotary, stream, use_reentrant=False)
            else:
                x_ND = block(x_ND, time_BD, rotary, stream)
        x_BHD = stream.packing.last(x_ND, noisy_BHK.shape[1])
        modulation = self.out_modulation(F.silu(time_BD))
        if clock is None:
            modulation = modulation[:, None]
        else:
            modulation = modulation[stream.packing.last(clock.number_N, noisy_BHK.shape[1])]
        shift, scale = modulation.chunk(2, dim=-1)
        out: Tensor = self.action_out(F.layer_norm(x_BHD, x_BHD.shape[-1:]) * (1 + scale) + shift)
        return out

    def _positions(self, hidden: Hidden, rows: int) -> Tensor:
        """Of the packed streams, shape (3, N): the actions' go on behind the prompt's last, or begin at zero."""
        ends = [prompt.amax(dim=(0, 2)) + 1 for prompt in hidden.packing.split(hidden.positions_3T, dim=1)]
        after_B = torch.cat(ends)
        if self.config.action_positions == "restart":
            after_B = torch.zeros_like(after_B)
        rows_BR = after_B[:, None] + torch.arange(rows, device=after_B.device)
        return hidden.packing.appended(hidden.positions_3T.t(), rows_BR[..., None].expand(-1, -1, 3)).t()


def _clock(packing: Packing, rows: int, tau_B: Tensor, clean_BH: Tensor) -> Clock:
    """The clean end for `clean_BH`, its sample's time for every other token of the packed streams."""
    count, horizon = clean_BH.shape
    own_B = torch.arange(count, device=tau_B.device)
    prompts_T = own_B.repeat_interleave(torch.tensor(packing.lengths, device=tau_B.device))
    rows_BR = own_B[:, None].repeat(1, rows)
    rows_BR[:, rows - horizon :] += count * clean_BH
    number_N = packing.appended(prompts_T, rows_BR)
    return Clock(
        tau_B=torch.cat((tau_B, torch.zeros_like(tau_B))), number_N=number_N, tokens=Packing((1,) * len(number_N))
    )


def time_features(tau_B: Tensor, width: int) -> Tensor:
    """Sinusoids of tau (scaled by 1000), shape (B, width)."""
    half = width // 2
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half, device=tau_B.device, dtype=torch.float32) / half)
    angles = 1000.0 * tau_B.float()[:, None] * frequencies
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


def _modulate(packing: Packing, x_ND: Tensor, shift_BD: Tensor, scale_BD: Tensor) -> Tensor:
    return modulated(packing, F.layer_norm(x_ND, x_ND.shape[-1:]), shift_BD, scale_BD)
