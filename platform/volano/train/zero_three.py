"""DeepSpeed ZeRO 3: every worker keeps a slice of each weight, of its gradient, its optimizer state and its average.

What trains is a copy of the caller's policy, made in host memory and cut up tensor by tensor; the caller's own stays
whole there and never goes to a GPU, so rank 0 computes the open-loop test on its host. Before DeepSpeed cuts the copy
up, it moves it whole to each GPU, in bf16. Then nothing is gathered in a step but what DeepSpeed gathers itself;
at a checkpoint, rank 0 gathers one tensor after another into its host memory.
"""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from volano.model.folder import load_weights, weights
from volano.model.policy import Policy
from volano.train.config import EngineConfig, OptimizerConfig
from volano.train.elastic import UNIVERSAL, own_momentum, own_steps
from volano.train.measure import Norms
from volano.train.optim import build_optimizer, own_settings, rates_of, set_rates
from volano.train.zero import STATE, GroupNorms, accumulate, begin_pass, initialize, states_of

T = TypeVar("T")


class _Root(nn.Module):
    """DeepSpeed acts at the borders of modules, first of all at the outermost one's: a step is one call of this."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, compute: Callable[[Policy], T]) -> T:
        return compute(self.policy)


class SlicedEngine:
    """ZeRO 3."""

    def __init__(
        self,
        policy: Policy,
        config: OptimizerConfig,
        engine: EngineConfig,
        *,
        batch: int,
        passes: int,
        frozen: Sequence[str],
        resized: bool,
    ) -> None:
        self._whole = policy
        self._policy = copy.deepcopy(policy).train()
        optimizer = build_optimizer(self._policy, config, frozen=frozen)
        root = _Root(self._policy)
        self._engine = initialize(root, optimizer, config, engine, batch=batch, passes=passes, resized=resized)
        self._norms = GroupNorms(self._engine)
        self._shapes = {name: tensor.shape for name, tensor in weights(policy).items()}
        self._sliced: dict[str, Any] = dict(self._policy.named_parameters())

    def forward(self, compute: Callable[[Policy], T]) -> T:
        begin_pass(self._engine)
        result: T = self._engine.module(compute)
        return result

    def backward(self, loss: Tensor, *, last: bool) -> None:
        accumulate(self._engine, loss, last=last)

    def update(self, rate_scale: float) -> Norms:
        set_rates(self._engine.optimizer, rate_scale)
        return self._norms.step()

    def rates(self) -> dict[str, float]:
        return rates_of(self._engine.optimizer)

    def current(self) -> dict[str, Tensor]:
        from deepspeed.utils import safe_get_local_fp32_param

        buffers = dict(self._policy.named_buffers())
        slices = {name: buffers[name].float() for name in self._shapes if name not in self._sliced}
        for name, parameter in self._sliced.items():
            own = safe_get_local_fp32_param(parameter) if parameter.requires_grad else parameter.ds_tensor
            slices[name] = own.detach().float()
        return slices

    def cut(self, whole: dict[str, Tensor]) -> dict[str, Tensor]:
        rank = torch.distributed.get_rank()
        slices = {}
        for name, now in self.current().items():
            tensor = whole[name].float()
            if name in self._sliced:
                padded = tensor.new_zeros(now.numel() * torch.distributed.get_world_size())
                padded[: tensor.numel()] = tensor.flatten()
                tensor = padded[rank * now.numel() : (rank + 1) * now.numel()]
            slices[name] = tensor.to(now.device, copy=True)
        return slices

    def gather(self, slices: dict[str, Tensor]) -> dict[str, Tensor]:
        first, world = torch.distributed.get_rank() == 0, torch.distributed.get_world_size()
        whole = {}
        for name, shape in self._shapes.items():
            own = slices[name].contiguous()
            pieces = [torch.empty_like(own) for _ in range(world)] if first and name in self._sliced else None
            if name in self._sliced:
                torch.distributed.gather(own, pieces)
            if first:
                joined = torch.cat(pieces)[: shape.numel()] if pieces else own
                whole[name] = joined.view(shape).cpu()
        return whole

    def show(self) -> None:
        whole = self.gather(self.current())
        if whole:
            load_weights(self._whole, whole)

    def states(self) -> dict[str, object]:
        return states_of(self._engine)

    def load(self, folder: Path) -> None:
        with own_settings(self._engine.optimizer.param_groups):  # DeepSpeed gives every group the first one's rates
            self._engine.load_checkpoint(str(folder), tag=STATE)

    def load_resized(self, folder: Path) -> None:
        self.load(folder / UNIVERSAL)
        own_steps(self._engine.basic_optimizer)
        own_momentum(self._engine.optimizer)

    def close(self) -> None:
        self._engine.destroy()
