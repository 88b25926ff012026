"""DeepSpeed with the weights whole on every worker (ZeRO 0, 1 and 2), and what ZeRO 3 shares with it.

Relies on the process group that Ray Train (or torchrun) has set up. `torch.optim.AdamW` steps wherever the optimizer's
state is, on the host as well: DeepSpeed's own host optimizer would need a compiler on every machine.
"""

import math
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from volano.model.policy import Policy
from volano.train.config import EngineConfig, OptimizerConfig
from volano.train.elastic import UNIVERSAL, own_steps, whole_momentum
from volano.train.engine import WholeEngine
from volano.train.measure import Norms
from volano.train.optim import build_optimizer, gradient_norms, own_settings, rates_of, set_rates

T = TypeVar("T")
STATE = "state"
"""DeepSpeed's tag of the one state within a checkpoint's folder."""


def initialize(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: OptimizerConfig,
    engine: EngineConfig,
    *,
    batch: int,
    passes: int,
    resized: bool,
) -> Any:
    """DeepSpeed's engine over `module`, whose gradients it averages over the workers."""
    import deepspeed
    import deepspeed.ops

    if not torch.cuda.is_available():
        # One host's shared memory, set up with the global world size: needs a compiler, and is wrong across hosts.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    zero: dict[str, Any] = {"stage": engine.zero_stage}
    if engine.offload:
        zero["offload_optimizer"] = {"device": "cpu"}
    if engine.zero_stage == 3:
        zero["stage3_param_persistence_threshold"] = engine.whole_below
        zero["reduce_scatter"] = config.kind != "muon"  # DeepSpeed refuses the two together
    settings = {
        "train_micro_batch_size_per_gpu": -(-batch // (torch.distributed.get_world_size() * passes)),
        "gradient_accumulation_steps": passes,
        "gradient_clipping": config.clip,
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,
        "checkpoint": {"load_universal": resized and engine.zero_stage > 0},
        "bf16": {"enabled": torch.cuda.is_available(), "check_grad_overflow": False},  # a stage does
        "steps_per_print": 10**9,
    }
    return deepspeed.initialize(model=module, optimizer=optimizer, config=settings)[0]


def states_of(engine: Any) -> dict[str, object]:
    """What DeepSpeed's engine would write into a checkpoint: by file name below its folder, the very tensors."""
    from deepspeed.runtime.checkpoint_engine import TorchCheckpointEngine

    found: dict[str, object] = {}

    class Collecting(TorchCheckpointEngine):  # type: ignore[misc] # DeepSpeed has no types
        """Hands over what it is to write."""

        def save(self, state_dict: object, path: str) -> None:
            found[path] = state_dict

        def makedirs(self, path: str, exist_ok: bool = False) -> None:
            pass

        def preserves_storage_sharing(self) -> bool:
            return False

    writing, recovery = engine.checkpoint_engine, engine._copy_recovery_script
    engine.checkpoint_engine = Collecting(engine._config)
    engine._copy_recovery_script = lambda _place: None
    try:
        engine.save_checkpoint(".", tag=STATE, save_latest=False)
    finally:
        engine.checkpoint_engine, engine._copy_recovery_script = writing, recovery
    return {os.path.normpath(path): state for path, state in found.items()}


def begin_pass(engine: Any) -> None:
    """What DeepSpeed's own forward pass does first: without it ZeRO 3 forgets the gradients of earlier passes."""
    if hasattr(engine.optimizer, "clear_backward_seen_flag"):
        engine.optimizer.clear_backward_seen_flag()


def accumulate(engine: Any, loss: Tensor, *, last: bool) -> None:
    """Backward, where losses are weighted already; DeepSpeed counts passes by calls that update nothing."""
    engine.backward(loss, scale_wrt_gas=False)
    if not last:
        engine.step()


class GroupNorms:
    """Notes the norm of each group's gradients where DeepSpeed measures it on its way to the global one."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._noted: list[float] = []
        for name in ("get_grad_norm_direct", "complete_grad_norm_calculation_for_cpu_offload"):
            measure = getattr(engine.optimizer, name, None)
            if measure is not None:
                setattr(engine.optimizer, name, self._noting(measure))

    def step(self) -> Norms:
        """Update; the norms on the way."""
        self._noted.clear()
        self._engine.step()
        zero = self._engine.optimizer
        whose = getattr(zero, "sub_group_to_group_id", None) or range(len(self._noted))
        squares: dict[str, float] = defaultdict(float)
        for number, norm in enumerate(self._noted):
            squares[zero.param_groups[whose[number]]["part"]] += norm**2
        return Norms(parts={part: math.sqrt(square) for part, square in squares.items()})

    def _noting(self, measure: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **options: Any) -> Any:
            norm = measure(*arguments, **options)
            self._noted.append(float(norm) if float(norm) >= 0 else math.nan)  # its mark of what is not finite is -1
            return norm

        return noted


class DeepSpeedEngine(WholeEngine):
    """ZeRO 0, 1 or 2."""

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
        super().__init__(policy)
        optimizer = build_optimizer(policy, config, frozen=frozen)
        self._config = engine
        self._engine = initialize(policy, optimizer, config, engine, batch=batch, passes=passes, resized=resized)
        self._norms = GroupNorms(self._engine)

    def forward(self, compute: Callable[[Policy], T]) -> T:
        begin_pass(self._engine)
        return super().forward(compute)

    def backward(self, loss: Tensor, *, last: bool) -> None:
        accumulate(self._engine, loss, last=last)

    def update(self, rate_scale: float) -> Norms:
        set_rates(self._engine.optimizer, rate_scale)
        if not self._config.zero_stage:  # DeepSpeed measures no norm there
            norms = gradient_norms(self._engine.optimizer)
            self._engine.step()
            return norms
        return self._norms.step()

    def rates(self) -> dict[str, float]:
        return rates_of(self._engine.optimizer)

    def states(self) -> dict[str, object]:
        return states_of(self._engine)

    def load(self, folder: Path) -> None:
        with own_settings(self._engine.optimizer.param_groups):
            self._engine.load_checkpoint(str(folder), tag=STATE)

    def load_resized(self, folder: Path) -> None:
        if not self._config.zero_stage:  # nothing is split, so any number of workers reads it
            self.load(folder)
            return
        self.load(folder / UNIVERSAL)
        own_steps(self._engine.basic_optimizer)
        if not self._config.offload:
            whole_momentum(self._engine.optimizer, folder / UNIVERSAL / STATE)

    def close(self) -> None:
        self._engine.destroy()
