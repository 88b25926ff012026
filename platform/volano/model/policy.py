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

from volano.embodiment.prefix import Prefix
from volano.errors import Code, ContractError
from volano.model.actions import ActionCodec
from volano.model.backbone import IGNORED, Backbone, Hidden, Prompted
from volano.model.config import ModelConfig, TauDistribution
from volano.model.expert import ActionExpert
from volano.model.flow import Share, integrate, interpolate, masked_loss, sample_tau
from volano.model.packing import sorted_order
from volano.model.prefix import Prefixes, draw_prefixes, gather, integrate_from, leading_rows
from volano.model.prompt import PromptEncoder
from volano.model.reuse import Memory


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
    prefix: Prefix | None = None
    """What the robot executes meanwhile; its answer goes on from there."""
    session: str = ""
    """Whose observations these are, where what the backbone makes of them is used again; empty: nobody's."""


@dataclass(frozen=True, kw_only=True)
class TextSample:
    """One question about images, with its answer: vision-language co-training."""

    cameras: tuple[str, ...]
    """Name of the view of each image; one may stand there twice."""
    images: tuple[NDArray[np.uint8], ...]
    question: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples as tensors, the shortest prompt first."""

    order: Tensor
    """int64, shape (B,): the number that each of them had where it was collated from."""
    prompted: Prompted
    state_BC: Tensor
    target_BHK: Tensor | None
    mask_BHK: Tensor | None

    def tokens(self) -> Tensor:
        """Of each sample's prompt, in the order from before collating: int64, shape (B,)."""
        return torch.tensor(self.prompted.packing.lengths, device=self.order.device)[self.order.argsort()]


class Policy(nn.Module):
    """The network with everything needed to read an observation and to command a robot."""

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: Tokenizer,
        codecs: Mapping[str, ActionCodec],
        text_codecs: Mapping[str, ActionCodec] | None = None,
        *,
        pretrained: bool = False,
    ) -> None:
        """Random weights; with `pretrained` the backbone's are those that the configuration names. `text_codecs` are of
        robots that it learns from without pictures, and serves never."""
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.codecs = dict(codecs)
        self.text_codecs = dict(text_codecs or {})
        self.encoder = PromptEncoder(tokenizer, config.order, config.prompt)
        self.backbone = Backbone(config.backbone, self.encoder, pretrained=pretrained)
        self.expert = ActionExpert(
            config.expert,
            vlm_width=self.backbone.width,
            channels=config.channels,
            state_channels=config.state_channels if config.state_input == "continuous" else 0,
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are, and so every batch."""
        return self.expert.vlm_in.weight.device

    def recompute_activations(self) -> None:
        """From now on, make a layer's activations again in the backward pass instead of keeping them."""
        self.backbone.network.activation_checkpointing_enable()
        self.expert.recompute = True

    def codec(self, tag: str) -> ActionCodec:
        """The codec of an embodiment this policy was trained for, with pictures or without."""
        if tag in self.text_codecs:
            return self.text_codecs[tag]
        if tag not in self.codecs:
            raise ContractError(
                Code.CONTRACT_UNKNOWN,
                f"this policy does not know {tag!r}",
                f"it was trained for: {', '.join(sorted(self.codecs))}",
            )
        return self.codecs[tag]

    def batch(self, samples: Sequence[Sample]) -> Batch:
        """Collate: in order of length, images in token order."""
        rows: list[list[int]] = []
        for sample in samples:
            codec = self.codec(sample.embodiment)
            counts = [self.backbone.image_tokens(*image.shape[:2]) for image in sample.images]
            bins = codec.state_bins(sample.state) if self.config.state_input == "text" else ()
            rows.append(self.encoder.encode(codec.embodiment, sample.instruction, counts, bins))
        order = sorted_order([len(row) for row in rows])
        placed = [samples[number] for number in order]
        states = [self.codec(sample.embodiment).encode_state(sample.state) for sample in placed]
        targets = [sample.target for sample in placed if sample.target is not None]
        masks = [sample.mask for sample in placed if sample.mask is not None]
        return Batch(
            order=torch.tensor(order, device=self.device),
            prompted=self._prompted([rows[number] for number in order], [x for one in placed for x in one.images]),
            state_BC=torch.from_numpy(np.stack(states)).to(self.device),
            target_BHK=torch.from_numpy(np.stack(targets)).to(self.device) if targets else None,
            mask_BHK=torch.from_numpy(np.stack(masks)).to(self.device) if masks else None,
        )

    def _prompted(self, rows: Sequence[list[int]], images: Sequence[NDArray[np.uint8]]) -> Prompted:
        return self.backbone.prompted(rows, images).to(self.device)

    def text_loss(self, samples: Sequence[TextSample]) -> Tensor:
        """Next-token loss of the answers per sample, shape (B,): the mean over an answer's tokens (equation 3, whose
        reduction the paper leaves open). It reaches the backbone and its head, and nothing of the expert."""
        rows: list[list[int]] = []
        labels: list[list[int]] = []
        for sample in samples:
            counts = [self.backbone.image_tokens(*image.shape[:2]) for image in sample.images]
            question, answer = self.encoder.dialogue(sample.question, sample.answer)
            before = self.encoder.images(sample.cameras, counts) + question
            rows.append(before + answer[:-1])
            labels.append([IGNORED] * (len(before) - 1) + answer)
        order = sorted_order([len(row) for row in rows])
        images = [image for number in order for image in samples[number].images]
        asked = torch.tensor([label for number in order for label in labels[number]], device=self.device)
        losses = self.backbone.next_token_loss(self._prompted([rows[number] for number in order], images), asked)
        return losses[torch.tensor(order, device=self.device).argsort()]

    def loss(
        self,
        batch: Batch,
        tau: TauDistribution,
        generator: torch.Generator,
        *,
        freeze_backbone: bool = False,
        share: Share | None = None,
    ) -> Tensor:
        """Flow-matching loss per sample, shape (B,): the mean over `flow.draws` draws of noise and tau, which come from
        a generator of the CPU, so that a device changes no draw.

        Where the batch is one worker's `share` of a larger one, noise and tau are those that the whole batch would have
        had on one worker: a sample's loss does not depend on the number of workers.
        """
        if batch.target_BHK is None or batch.mask_BHK is None:
            raise ValueError("a training batch has targets and masks")
        with torch.set_grad_enabled(torch.is_grad_enabled() and not freeze_backbone):
            hidden = self.backbone(batch.prompted)
        draws, count = self.config.flow.draws, batch.target_BHK.shape[0]
        clean, mask = (x.repeat_interleave(draws, 0) for x in (batch.target_BHK, batch.mask_BHK))
        share = share or Share(total=count)
        drawn = share.of(torch.randn(draws * share.total, *clean.shape[1:], generator=generator), draws)
        tau_B = _placed(share.of(sample_tau(tau, draws * share.total, generator), draws), draws, batch.order)
        noise = _placed(drawn, draws, batch.order)
        if self.config.flow.mask_padded_noise:
            noise = noise * mask
        counted = mask if self.config.flow.mask_loss else torch.ones_like(mask)
        noisy, given = interpolate(clean, noise, tau_B), None
        if (longest := self.config.flow.trained_prefix) > 0:
            random = share.of(torch.rand(draws * share.total, generator=generator), draws)
            rows_B = draw_prefixes(longest, mask, _placed(random, draws, batch.order))
            given = leading_rows(rows_B, mask.shape[1])
            noisy, counted = torch.where(given[..., None], clean, noisy), counted & ~given[..., None]
        states = batch.state_BC.repeat_interleave(draws, 0)
        velocity = self._velocity(noisy, tau_B, hidden.repeated(draws), states, given)
        losses = masked_loss(velocity, noise - clean, counted).view(count, draws).mean(dim=1)
        return losses[batch.order.argsort()]

    def _velocity(
        self, noisy_BHK: Tensor, tau_B: Tensor, hidden: Hidden, state_BC: Tensor, clean_BH: Tensor | None = None
    ) -> Tensor:
        out: Tensor = self.expert(noisy_BHK, tau_B, hidden, state_BC, clean_BH)
        return out

    @torch.no_grad()
    def act(self, samples: Sequence[Sample], generator: torch.Generator) -> list[NDArray[np.float32]]:
        """One chunk per sample, each of shape (horizon, channels) in its robot's physical units."""
        shape = (len(samples), self.config.horizon, self.config.channels)
        return self.act_from(samples, torch.randn(shape, generator=generator))

    @torch.no_grad()
    def act_from(
        self, samples: Sequence[Sample], noise: Tensor, memory: Memory | None = None
    ) -> list[NDArray[np.float32]]:
        """`act` from given noise of shape (samples, model horizon, model channels): a sample's chunk depends on its
        own noise alone, whoever shares its batch. `memory` saves time and changes nothing but rounding."""
        clean = self.normalized_from(samples, noise, memory)
        return [
            self.codec(sample.embodiment).decode(values) for sample, values in zip(samples, clean.numpy(), strict=True)
        ]

    @torch.no_grad()
    def normalized_from(self, samples: Sequence[Sample], noise: Tensor, memory: Memory | None = None) -> Tensor:
        """What `act_from` decodes: shape (samples, model horizon, model channels), about -1 to 1, on the CPU."""
        batch, noise = self.batch(samples), noise.to(self.device)
        if memory is None:
            hidden = self.backbone(batch.prompted)
        else:
            placed = [samples[number] for number in batch.order.tolist()]
            images, sessions = [one.images for one in placed], [one.session for one in placed]
            hidden = memory.hidden(self.backbone, batch.prompted, images, sessions)
        if self.config.flow.mask_padded_noise:
            noise = noise * self._active(samples).to(self.device)
        prefixes = self._prefixes(samples, batch.order)
        given = None
        if prefixes is not None and bool(prefixes.pinned_B.any()):
            given = leading_rows(prefixes.pinned_B, self.config.horizon)

        def velocity(noisy: Tensor, tau: Tensor) -> Tensor:
            return self._velocity(noisy, tau, hidden, batch.state_BC, given)

        noise, steps = noise[batch.order], self.config.flow.integration_steps
        found = (
            integrate(velocity, noise, steps) if prefixes is None else integrate_from(velocity, noise, steps, prefixes)
        )
        return found[batch.order.argsort()].cpu()

    def _prefixes(self, samples: Sequence[Sample], order: Tensor) -> Prefixes | None:
        """What the samples go on from, in `order`; None when none of them does."""
        given = [sample.prefix for sample in samples]
        if not any(given):
            return None
        clean = torch.zeros(len(samples), self.config.horizon, self.config.channels)
        for row, sample in zip(clean, samples, strict=True):
            if sample.prefix is not None:
                row[:] = torch.from_numpy(self.codec(sample.embodiment).encode_prefix(sample.prefix.actions))
        gathered = gather(given, clean, self._active(samples), self.config.flow.trained_prefix)
        return gathered.placed(order)

    def _active(self, samples: Sequence[Sample]) -> Tensor:
        mask = torch.zeros(len(samples), self.config.horizon, self.config.channels)
        for row, sample in zip(mask, samples, strict=True):
            robot = self.codec(sample.embodiment).embodiment
            row[: robot.horizon, : len(robot.action)] = 1
        return mask


def _placed(drawn: Tensor, draws: int, order_B: Tensor) -> Tensor:
    """What was drawn for one sample after another, all of them `draws` times, as a batch in `order_B` has it: the draws
    of a sample behind each other."""
    rows: Tensor = drawn.to(order_B.device).unflatten(0, (draws, len(order_B))).transpose(0, 1)[order_B].flatten(0, 1)
    return rows
