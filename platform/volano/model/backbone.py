"""The vision-language backbone: a Qwen of the transformers library, randomly initialised or from pretrained weights.

Guarantees one interface whatever the batch holds: token identifiers and images in; hidden states of the last layer and
their three-axis positions out, both packed, so that no layer sees padding. Weights are never loaded with remote code.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AttentionInterface

from volano.model.attention import attend
from volano.model.config import BackboneConfig
from volano.model.families import FAMILIES, Family, configuration
from volano.model.packing import Packing
from volano.model.pretrained import load_network
from volano.model.products import linear, quicken
from volano.model.prompt import PromptEncoder


@dataclass(frozen=True, kw_only=True)
class Prompted:
    """A batch as the backbone takes it, samples behind each other in one row."""

    tokens_T: Tensor
    """int64, shape (T,)."""
    positions_3T: Tensor
    """int64: time, height and width of each token, from 0 in every sample."""
    packing: Packing
    images: tuple[Tensor, ...]
    """uint8: every image of the batch in token order, those of one size that follow each other as one tensor of shape
    (I, height, width, 3)."""

    def to(self, device: torch.device) -> Self:
        """The batch on a device."""
        return type(self)(
            tokens_T=self.tokens_T.to(device),
            positions_3T=self.positions_3T.to(device),
            packing=self.packing,
            images=tuple(some.to(device) for some in self.images),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Sight:
    """What the vision tower makes of one image."""

    tokens_TV: Tensor
    deep: tuple[Tensor, ...]
    """Features that enter deeper layers of the language model, each (T, V); of Qwen3-VL only."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of it."""
        return (self.tokens_TV, *self.deep)


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """What the expert reads."""

    states_TV: Tensor
    positions_3T: Tensor
    packing: Packing

    def repeated(self, times: int) -> Self:
        """Every sample `times` times, one copy behind the other."""
        if times == 1:
            return self
        copies = [
            torch.arange(run.tokens).view(run.count, 1, run.length).repeat(1, times, 1).flatten()
            for run in self.packing.runs
        ]
        starts = np.cumsum([0, *(run.tokens for run in self.packing.runs)]).tolist()
        index = torch.cat([copy + start for copy, start in zip(copies, starts, strict=False)])
        index = index.to(self.states_TV.device)
        return type(self)(
            states_TV=self.states_TV[index],
            positions_3T=self.positions_3T[:, index],
            packing=self.packing.repeated(times),
        )


def positions(is_image: NDArray[np.bool_], grids: Iterator[tuple[int, int]]) -> NDArray[np.int64]:
    """Time, height and width of one sample's tokens, shape (3, tokens): words count on all three axes, an image of
    rows x columns tokens, as the next of `grids` says, stands at one time, and what follows it counts on from its
    longer side."""
    found = np.empty((3, len(is_image)), np.int64)
    at, done = 0, 0
    begins = np.flatnonzero(is_image & ~np.concatenate(([False], is_image[:-1])))
    for begin in begins.tolist():
        rows, columns = next(grids)
        size = rows * columns
        found[:, done:begin] = at + np.arange(begin - done)
        at += begin - done
        found[0, begin : begin + size] = at
        found[1, begin : begin + size] = at + np.arange(size) // columns
        found[2, begin : begin + size] = at + np.arange(size) % columns
        at, done = at + max(rows, columns), begin + size
    found[:, done:] = at + np.arange(len(is_image) - done)
    return found


def _alike(images: Iterable[Any]) -> Iterator[tuple[Any, Iterator[Any]]]:
    """Those of one size that follow each other."""
    return groupby(images, key=lambda image: image.shape)


def stacked(images: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """Images (height, width, 3) as `Prompted` has them: one tensor where all are of one size."""
    return tuple(torch.stack(list(some)) for _, some in _alike(images))


def patches(images_IHWC: Tensor, patch_size: int, merge: int, temporal_patch: int, family: Family) -> Tensor:
    """Qwen's flat patch layout, shape (I * rows * columns, 3 * temporal * patch^2), values about -1 to 1.

    Patches of one merge window stand next to each other, and a still image is repeated in time, as in the
    library's own image processor.
    """
    count, height, width, _ = images_IHWC.shape
    mean, deviation = (torch.tensor(x, device=images_IHWC.device) for x in (family.mean, family.deviation))
    scaled = (images_IHWC.float() / (255.0 * deviation) - mean / deviation).permute(0, 3, 1, 2)
    rows, columns = height // (patch_size * merge), width // (patch_size * merge)
    grid = scaled.reshape(count, 3, rows, merge, patch_size, columns, merge, patch_size)
    ordered = grid.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(count * rows * columns * merge * merge, 3, 1, -1)
    return ordered.expand(-1, 3, temporal_patch, -1).reshape(ordered.shape[0], -1)


def packed_attention(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scaling: float,
    cu_seq_lens_q: Tensor,
    **_unused: object,
) -> tuple[Tensor, None]:
    """Attention within each image of a packed sequence (1, heads, tokens, width).

    The library runs one kernel call per image unless an implementation takes packed sequences; images of one size
    that follow each other are one call here. `cu_seq_lens_q` holds the images' boundaries.
    """
    packing = Packing(tuple(cu_seq_lens_q.diff().tolist()))
    query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
    attended = attend(packing, query, key, value, scale=scaling)
    return attended.unflatten(1, (-1, query.shape[2]))[None], None


def sample_attention(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    *,
    scaling: float,
    packing: Packing,
    **_unused: object,
) -> tuple[Tensor, None]:
    """Causal attention within each sample of a row of shape (1, heads, tokens, width)."""
    query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
    return attend(packing, query, key, value, scale=scaling, causal=True)[None], None


class _Padded:
    """Gives a layer whose memory runs along its row the samples apart, and packs what it answers.

    The library's linear attention knows no samples within a row.
    """

    def __init__(self, layer: nn.Module) -> None:
        self._packing = Packing(())
        layer.register_forward_pre_hook(self._before, with_kwargs=True)
        layer.register_forward_hook(self._after)

    def _before(
        self, _layer: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        self._packing = named.pop("packing")
        row = named["hidden_states"][0]
        apart = {"hidden_states": self._packing.padded(row), "attention_mask": self._packing.mask(row.device)}
        return positional, {**named, **apart}

    def _after(self, _layer: nn.Module, _positional: tuple[Any, ...], answer: Tensor) -> Tensor:
        return self._packing.unpadded(answer)[None]


class PatchEmbedding(nn.Module):
    """The library's patch embedding as one matrix product: a convolution whose stride is its kernel is nothing else,
    but on CPU took a seventh of a training step."""

    def __init__(self, proj: nn.Conv3d) -> None:
        super().__init__()
        self.proj = proj

    def forward(self, patches: Tensor) -> Tensor:
        weight = self.proj.weight
        return linear(patches.to(weight.dtype), weight.flatten(1), self.proj.bias)


IGNORED = -100
"""A label that asks for nothing."""
_PACKED = "volano_packed_flash"  # the library passes packed sequences to names with "flash" in them
AttentionInterface.register(_PACKED, packed_attention)
_SAMPLES = "volano_samples"
AttentionInterface.register(_SAMPLES, sample_attention)


class Backbone(nn.Module):
    """A Qwen behind `Prompted` in and `Hidden` out."""

    def __init__(self, config: BackboneConfig, encoder: PromptEncoder, *, pretrained: bool = False) -> None:
        """Random weights, or those that `config.pretrained` names; raises PolicyError like `load_network`."""
        super().__init__()
        self._family = FAMILIES[config.family]
        numbers = configuration(config, encoder)
        self.network: Any = load_network(config, numbers) if pretrained else self._family.network(numbers)
        self.network.config.vision_config._attn_implementation = _PACKED
        self.network.config.text_config._attn_implementation = _SAMPLES
        visual = self.network.model.visual
        visual.patch_embed = PatchEmbedding(visual.patch_embed.proj)
        quicken(self.network)
        for layer in self.network.model.language_model.layers:
            if hasattr(layer, "linear_attn"):
                _Padded(layer.linear_attn)
        self.config = config
        self._image_token = int(self.network.config.image_token_id)
        self._patch, self._merge = config.vision.patch_size, config.vision.merge

    @property
    def width(self) -> int:
        """Width of the hidden states."""
        return int(self.network.config.text_config.hidden_size)

    def image_tokens(self, height: int, width: int) -> int:
        """Tokens that one image of this size becomes."""
        side = self._patch * self._merge
        return (height // side) * (width // side)

    def prompted(self, rows: Sequence[Sequence[int]], images: Sequence[NDArray[np.uint8]]) -> Prompted:
        """Token identifiers of each sample, and every image in token order, as one batch on the CPU."""
        side = self._patch * self._merge
        tokens = [np.array(row, np.int64) for row in rows]
        grids = ((image.shape[0] // side, image.shape[1] // side) for image in images)
        placed = [positions(row == self._image_token, grids) for row in tokens]
        return Prompted(
            tokens_T=torch.from_numpy(np.concatenate(tokens)),
            positions_3T=torch.from_numpy(np.concatenate(placed, axis=1)),
            packing=Packing(tuple(map(len, rows))),
            images=tuple(torch.from_numpy(np.stack(list(some))) for _, some in _alike(images)),
        )

    def forward(self, batch: Prompted, sights: Sequence[Sight] = ()) -> Hidden:
        """Run the backbone once; the language-model head is not evaluated. `sights` stand for the batch's images where
        these were seen before."""
        output = self._run(batch, every_layer=self.config.hidden_layer != -1, sights=sights)
        last = self.config.hidden_layer == -1
        states = output.last_hidden_state if last else output.hidden_states[self.config.hidden_layer]
        return Hidden(states_TV=states[0], positions_3T=batch.positions_3T, packing=batch.packing)

    def next_token_loss(self, batch: Prompted, labels_T: Tensor) -> Tensor:
        """Cross-entropy per sample, shape (B,): the mean over its labels, 0 for none. `labels_T` names the token that
        follows each token, or IGNORED; the head is evaluated at labels only."""
        states, samples = self._run(batch, every_layer=False).last_hidden_state[0], len(batch.packing.lengths)
        places = torch.nonzero(labels_T != IGNORED)[:, 0]
        logits = self.network.get_output_embeddings()(states[places])
        losses = F.cross_entropy(logits.float(), labels_T[places], reduction="none")
        owners = torch.repeat_interleave(torch.tensor(batch.packing.lengths, device=losses.device))[places]
        count, total = (torch.zeros(samples, device=losses.device) for _ in range(2))
        return total.index_add(0, owners, losses) / count.index_add(0, owners, torch.ones_like(losses)).clamp(min=1)

    def see(self, images: tuple[Tensor, ...]) -> list[Sight]:
        """Each image of a batch by itself, and none keeps the memory of others."""
        output = self._see(images)
        deep = getattr(output, "deepstack_features", None) or []
        return [
            Sight(tokens_TV=tokens.clone(), deep=tuple(layer[number].clone() for layer in deep))
            for number, tokens in enumerate(output.pooler_output)
        ]

    def _run(self, batch: Prompted, *, every_layer: bool, sights: Sequence[Sight] = ()) -> Any:
        """The library's output for the one row."""
        seen = {"image": self._see(batch.images)} if batch.images else None
        if sights:
            deep = [[one.deep[layer] for one in sights] for layer in range(len(sights[0].deep))]
            tokens = [one.tokens_TV for one in sights]
            seen = {"image": SimpleNamespace(pooler_output=tokens, deepstack_features=deep)}
        return self.network.model(
            input_ids=batch.tokens_T[None],
            position_ids=batch.positions_3T[:, None],
            mm_encoder_outputs=seen,
            use_cache=False,
            output_hidden_states=every_layer,
            packing=batch.packing,
        )

    def _see(self, images: tuple[Tensor, ...]) -> Any:
        """The library's features of images."""
        vision, side = self.network.config.vision_config, self._patch
        cut = [patches(some, side, self._merge, vision.temporal_patch_size, self._family) for some in images]
        flat = cut[0] if len(cut) == 1 else torch.cat(cut)
        shapes = [some.shape for some in images]
        grids = [[1, height // side, width // side] for count, height, width, _ in shapes for _ in range(count)]
        grid = torch.tensor(grids, device=flat.device)
        return self.network.model.get_image_features(flat.to(self.network.dtype), grid, return_dict=True)
