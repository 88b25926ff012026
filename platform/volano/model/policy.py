"""A Qwen-VLA policy: backbone, expert and one codec per embodiment, as one object with `loss` and `act`.

One set of weights serves every embodiment; the prompt alone selects the robot. Observations and actions cross this
door in physical units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from volano.errors import Code, ContractError
from volano.model.actions import ActionCodec
from volano.model.backbone import Backbone, Hidden, Prompted
from volano.model.config import ModelConfig, TauDistribution
from volano.model.expert import ActionExpert
from volano.model.flow import integrate, interpolate, masked_loss, sample_tau
from volano.model.prompt import PAD_TOKEN, PromptEncoder


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One observation as the policy sees it; a training sample also has its target."""

    embodiment: str
    instruction: str
    images: tuple[NDArray[np.uint8], ...]
    """One RGB image (height, width, 3) per camera in the contract's order; empty for text only."""
    state: NDArray[np.float32]
    """Physical units, shape (state channels,)."""
    target: NDArray[np.float32] | None = None
    """Normalised, shape (H, K)."""
    mask: NDArray[np.bool_] | None = None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples as tensors."""

    prompted: Prompted
    state_BC: Tensor
    target_BHK: Tensor | None
    mask_BHK: Tensor | None


class Policy(nn.Module):
    """The network with everything needed to read an observation and to command a robot."""

    def __init__(self, config: ModelConfig, tokenizer: Tokenizer, codecs: Mapping[str, ActionCodec]) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.codecs = dict(codecs)
        self.encoder = PromptEncoder(tokenizer, config.order)
        self.backbone = Backbone(config.backbone, self.encoder)
        self.expert = ActionExpert(
            config.expert,
            vlm_width=self.backbone.width,
            channels=config.channels,
            state_channels=config.state_channels if config.state_input == "continuous" else 0,
        )
        self._pad = self.encoder.token(PAD_TOKEN)

    def codec(self, tag: str) -> ActionCodec:
        """The codec of an embodiment this policy was trained for."""
        if tag not in self.codecs:
            raise ContractError(
                Code.CONTRACT_UNKNOWN,
                f"this policy does not know {tag!r}",
                f"it was trained for: {', '.join(sorted(self.codecs))}",
            )
        return self.codecs[tag]

    def batch(self, samples: Sequence[Sample]) -> Batch:
        """Collate; prompts are padded on the right, images stacked in token order."""
        rows: list[list[int]] = []
        images: list[NDArray[np.uint8]] = []
        for sample in samples:
            robot = self.codec(sample.embodiment).embodiment
            counts = [self.backbone.image_tokens(*image.shape[:2]) for image in sample.images]
            rows.append(self.encoder.encode(robot, sample.instruction, counts))
            images += sample.images
        length = max(len(row) for row in rows)
        tokens = torch.tensor([row + [self._pad] * (length - len(row)) for row in rows])
        lengths = torch.tensor([len(row) for row in rows])
        states = [self.codec(sample.embodiment).encode_state(sample.state) for sample in samples]
        targets = [sample.target for sample in samples if sample.target is not None]
        masks = [sample.mask for sample in samples if sample.mask is not None]
        return Batch(
            prompted=Prompted(
                tokens_BS=tokens,
                mask_BS=torch.arange(length)[None] < lengths[:, None],
                images=torch.from_numpy(np.stack(images)) if images else None,
            ),
            state_BC=torch.from_numpy(np.stack(states)),
            target_BHK=torch.from_numpy(np.stack(targets)) if targets else None,
            mask_BHK=torch.from_numpy(np.stack(masks)) if masks else None,
        )

    def loss(
        self, batch: Batch, tau: TauDistribution, generator: torch.Generator, *, freeze_backbone: bool = False
    ) -> Tensor:
        """Flow-matching loss per sample, shape (B,): the mean over `flow.draws` draws of noise and tau."""
        if batch.target_BHK is None or batch.mask_BHK is None:
            raise ValueError("a training batch has targets and masks")
        with torch.set_grad_enabled(torch.is_grad_enabled() and not freeze_backbone):
            hidden = self.backbone(batch.prompted)
        draws, count = self.config.flow.draws, batch.target_BHK.shape[0]
        clean, mask = batch.target_BHK.repeat(draws, 1, 1), batch.mask_BHK.repeat(draws, 1, 1)
        noise = torch.randn(clean.shape, generator=generator)
        if self.config.flow.mask_padded_noise:
            noise = noise * mask
        tau_B = sample_tau(tau, clean.shape[0], generator)
        velocity = self._velocity(
            interpolate(clean, noise, tau_B), tau_B, hidden.repeated(draws), batch.state_BC.repeat(draws, 1)
        )
        return masked_loss(velocity, noise - clean, mask).view(draws, count).mean(dim=0)

    def _velocity(self, noisy_BHK: Tensor, tau_B: Tensor, hidden: Hidden, state_BC: Tensor) -> Tensor:
        out: Tensor = self.expert(noisy_BHK, tau_B, hidden.states_BSV, hidden.positions_3BS, hidden.mask_BS, state_BC)
        return out

    @torch.no_grad()
    def act(self, samples: Sequence[Sample], generator: torch.Generator) -> list[NDArray[np.float32]]:
        """One chunk per sample, each of shape (horizon, channels) in its robot's physical units."""
        shape = (len(samples), self.config.horizon, self.config.channels)
        return self.act_from(samples, torch.randn(shape, generator=generator))

    @torch.no_grad()
    def act_from(self, samples: Sequence[Sample], noise: Tensor) -> list[NDArray[np.float32]]:
        """`act` from given noise of shape (samples, model horizon, model channels): a sample's chunk depends on its
        own noise alone, whoever shares its batch."""
        batch = self.batch(samples)
        hidden = self.backbone(batch.prompted)
        if self.config.flow.mask_padded_noise:
            noise = noise * self._active(samples)
        clean = integrate(
            lambda noisy, tau: self._velocity(noisy, tau, hidden, batch.state_BC),
            noise,
            self.config.flow.integration_steps,
        )
        return [
            self.codec(sample.embodiment).decode(values) for sample, values in zip(samples, clean.numpy(), strict=True)
        ]

    def _active(self, samples: Sequence[Sample]) -> Tensor:
        mask = torch.zeros(len(samples), self.config.horizon, self.config.channels)
        for row, sample in zip(mask, samples, strict=True):
            robot = self.codec(sample.embodiment).embodiment
            row[: robot.horizon, : len(robot.action)] = 1
        return mask
