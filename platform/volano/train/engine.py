"""What turns a loss into a step: plain PyTorch on one process, or DeepSpeed on any number.

Both keep the global batch, clip by global norm, and save and load their own optimizer state; weights are exported
by the loop, never by an engine.
"""

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from volano.errors import Code, TrainError
from volano.model.policy import Policy
from volano.train.config import EngineConfig, OptimizerConfig
from volano.train.optim import build_optimizer, set_rates


class Engine(Protocol):
    """One optimizer over one policy."""

    def step(self, loss: Tensor, rate_scale: float) -> float:
        """Backward, clip, update at `rate_scale` of the peak rates; the gradient norm before clipping."""
        ...

    def save(self, folder: Path) -> None:
        """Every rank calls it; writes this rank's state."""
        ...

    def load(self, folder: Path) -> None:
        """Every rank calls it; restores weights and optimizer."""
        ...


class PlainEngine:
    """One process, no distributed framework."""

    def __init__(self, policy: Policy, config: OptimizerConfig, *, freeze_backbone: bool) -> None:
        self._policy = policy
        self._clip = config.clip or math.inf
        self._optimizer = build_optimizer(policy, config, freeze_backbone=freeze_backbone)

    def step(self, loss: Tensor, rate_scale: float) -> float:
        set_rates(self._optimizer, rate_scale)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        trained = [p for group in self._optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(trained, self._clip)
        self._optimizer.step()
        return float(norm)

    def save(self, folder: Path) -> None:
        state = {"policy": self._policy.state_dict(), "optimizer": self._optimizer.state_dict()}
        torch.save(state, folder / "plain.pt")

    def load(self, folder: Path) -> None:
        state = torch.load(folder / "plain.pt", weights_only=True)  # our own run folder, never from outside
        self._policy.load_state_dict(state["policy"])
        self._optimizer.load_state_dict(state["optimizer"])


class DeepSpeedEngine:
    """DeepSpeed ZeRO over the process group that Ray Train (or torchrun) has set up."""

    def __init__(
        self, policy: Policy, config: OptimizerConfig, engine: EngineConfig, *, batch: int, freeze_backbone: bool
    ) -> None:
        import deepspeed
        import deepspeed.ops

        world = torch.distributed.get_world_size()
        if batch % world:
            raise TrainError(
                Code.TRAIN_DATA, f"a batch of {batch} does not divide by {world} workers", "change batch or workers"
            )
        if not torch.cuda.is_available():
            # One host's shared memory, set up with the global world size: needs a compiler, and is wrong across hosts.
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        optimizer = build_optimizer(policy, config, freeze_backbone=freeze_backbone)
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=policy,
            optimizer=optimizer,
            config={
                "train_batch_size": batch,
                "train_micro_batch_size_per_gpu": batch // world,
                "gradient_accumulation_steps": 1,
                "gradient_clipping": config.clip,
                "zero_optimization": {"stage": engine.zero_stage},
                "bf16": {"enabled": torch.cuda.is_available()},
                "steps_per_print": 10**9,
            },
        )

    def step(self, loss: Tensor, rate_scale: float) -> float:
        set_rates(self._optimizer, rate_scale)
        self._engine.backward(loss)
        self._engine.step()
        return float(self._engine.get_global_grad_norm() or 0.0)

    def save(self, folder: Path) -> None:
        self._engine.save_checkpoint(str(folder), tag="state")

    def load(self, folder: Path) -> None:
        self._engine.load_checkpoint(str(folder), tag="state")


@contextmanager
def computing(config: EngineConfig) -> Iterator[None]:
    """The kernels and precision of forward and backward passes within it.

    On CPU, attention by plain matrix products: the fused kernel's backward pass is several times slower on sequences
    of some dozens of tokens. And nothing is compiled there, which would take longer than it saves.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with ExitStack() as stack:
        if device == "cpu":
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.autocast(device, torch.bfloat16, enabled=config.precision == "bf16"))
        yield


def build_engine(
    policy: Policy, config: OptimizerConfig, engine: EngineConfig, *, batch: int, freeze_backbone: bool
) -> Engine:
    """The engine a run asks for; `deepspeed` needs an initialised process group."""
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    if engine.kind == "plain":
        return PlainEngine(policy, config, freeze_backbone=freeze_backbone)
    if engine.kind == "deepspeed":
        return DeepSpeedEngine(policy, config, engine, batch=batch, freeze_backbone=freeze_backbone)
    raise TrainError(Code.TRAIN_FAILED, f"unknown engine {engine.kind!r}", "use engine.kind=plain or deepspeed")
