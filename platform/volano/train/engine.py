"""What turns a loss into a step: plain PyTorch on one process, or DeepSpeed on any number.

Both keep the global batch, clip by global norm, and save and load their own optimizer state. The caller's policy stays
whole whatever the engine splits; an engine that splits weights hands out this worker's slices for the moving average,
and makes them whole on rank 0 when a checkpoint is due.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from volano.model.folder import weights
from volano.model.policy import Policy
from volano.train.config import EngineConfig, OptimizerConfig
from volano.train.measure import Norms
from volano.train.optim import build_optimizer, gradient_norms, own_settings, rates_of, set_rates

T = TypeVar("T")
_PLAIN = "plain.pt"


class Engine(Protocol):
    """One optimizer over one policy. Every rank calls every method, in the same order: in a step as many times
    `forward` and `backward` as the stage has passes, then `update`."""

    def forward(self, compute: Callable[[Policy], T]) -> T:
        """`compute` of the network that trains."""
        ...

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the loss's gradient to those of the step's earlier passes; `last`: an update follows."""
        ...

    def update(self, rate_scale: float) -> Norms:
        """Clip, and update at `rate_scale` of the peak rates."""
        ...

    def rates(self) -> dict[str, float]:
        """Learning rate of each of the optimizer's groups, as the last step used it."""
        ...

    def current(self) -> dict[str, Tensor]:
        """This worker's slices of the weights, fp32; all of them where weights are not split."""
        ...

    def cut(self, whole: dict[str, Tensor]) -> dict[str, Tensor]:
        """The same slices of tensors named as `weights(policy)` names them."""
        ...

    def gather(self, slices: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rank 0 gets every slice made whole again; what others get is nothing to rely on."""
        ...

    def show(self) -> None:
        """Bring the caller's policy on rank 0 to the current weights."""
        ...

    def states(self) -> dict[str, object]:
        """What this rank has to write into a checkpoint, by file name: the very tensors, to be copied before the next
        step. The engine's `load` reads these files, as `torch.save` writes them."""
        ...

    def load(self, folder: Path) -> None:
        """Restore weights and optimizer as as many workers wrote them."""
        ...

    def load_resized(self, folder: Path) -> None:
        """Restore weights and optimizer as another number of workers wrote them."""
        ...

    def close(self) -> None:
        """Let go of the network and of the optimizer's memory."""
        ...


class WholeEngine:
    """What an engine that leaves the weights whole has in common with every other such."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def forward(self, compute: Callable[[Policy], T]) -> T:
        return compute(self._policy)

    def current(self) -> dict[str, Tensor]:
        return {name: tensor.float() for name, tensor in weights(self._policy).items()}

    def cut(self, whole: dict[str, Tensor]) -> dict[str, Tensor]:
        now = weights(self._policy)
        return {name: tensor.to(now[name].device, torch.float32, copy=True) for name, tensor in whole.items()}

    def gather(self, slices: dict[str, Tensor]) -> dict[str, Tensor]:
        return slices

    def show(self) -> None:
        pass


class PlainEngine(WholeEngine):
    """One process, no distributed framework."""

    def __init__(self, policy: Policy, config: OptimizerConfig, *, frozen: Sequence[str]) -> None:
        super().__init__(policy)
        self._clip = config.clip or math.inf
        self._updated = True
        self._optimizer = build_optimizer(policy, config, frozen=frozen)

    def backward(self, loss: Tensor, *, last: bool) -> None:
        del last  # gradients add up until there is an update
        if self._updated:
            self._optimizer.zero_grad(set_to_none=True)
        self._updated = False
        loss.backward()

    def update(self, rate_scale: float) -> Norms:
        set_rates(self._optimizer, rate_scale)
        norms = gradient_norms(self._optimizer)
        trained = [p for group in self._optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grads_with_norm_(trained, self._clip, torch.tensor(norms.total))
        self._optimizer.step()
        self._updated = True
        return norms

    def rates(self) -> dict[str, float]:
        return rates_of(self._optimizer)

    def states(self) -> dict[str, object]:
        return {_PLAIN: {"policy": self._policy.state_dict(), "optimizer": self._optimizer.state_dict()}}

    def load(self, folder: Path) -> None:
        state = torch.load(folder / _PLAIN, weights_only=True)  # our own run folder, never from outside
        self._policy.load_state_dict(state["policy"])
        with own_settings(self._optimizer.param_groups):
            self._optimizer.load_state_dict(state["optimizer"])

    def load_resized(self, folder: Path) -> None:
        self.load(folder)

    def close(self) -> None:
        pass


@contextmanager
def computing(config: EngineConfig) -> Iterator[None]:
    """The kernels and precision of forward and backward passes within it.

    On CPU, attention by plain matrix products: the fused kernel's backward pass is several times slower on sequences
    of some dozens of tokens. And nothing is compiled there unasked, which would take longer than it saves.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with ExitStack() as stack:
        if device == "cpu":
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if device == "cpu" and not config.compile:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.autocast(device, torch.bfloat16, enabled=config.precision == "bf16"))
        yield
