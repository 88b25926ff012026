"""A checkpoint of N workers made readable for M: DeepSpeed's universal format, written once and remembered beside it.

Relies on DeepSpeed's own converter and loader, and mends what they get wrong in 0.19: they know no momentum of Muon,
and after ZeRO 3 one count of Adam's steps is shared by all parameter groups, so that each step counts several times.
"""

import contextlib
import io
import logging
import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from volano.train.checkpoint import read_record, write_record

logger = logging.getLogger(__name__)
UNIVERSAL = "universal"
_STATE, _DISGUISED = "state", "disguised"
_MOMENTUM = "momentum_buffer"


def make_universal(folder: Path, *, zero_stage: int, offload: bool) -> None:
    """Convert the state in a checkpoint's folder, unless a conversion stands there whole. One process calls it."""
    target = folder / UNIVERSAL
    if read_record(target) is not None:
        return
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    logger.info("converting %s for another number of workers", folder.name)
    muon = _disguise(folder / _STATE, target / _DISGUISED, zero_stage=zero_stage, offload=offload)
    _convert(target / _DISGUISED if muon else folder / _STATE, target / _STATE)
    shutil.rmtree(target / _DISGUISED, ignore_errors=True)
    if zero_stage < 3:  # whose loader takes any name; that of ZeRO 3 knows Adam's alone
        for name in muon:
            place = target / _STATE / "zero" / name
            (place / "exp_avg.pt").rename(place / f"{_MOMENTUM}.pt")
            (place / "exp_avg_sq.pt").unlink()
    write_record(target, {})


def _convert(source: Path, target: Path) -> None:
    from deepspeed.checkpoint import ds_to_universal

    wanted = Namespace(
        input_folder=str(source),
        output_folder=str(target),
        num_extract_workers=1,
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=True,
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        ds_to_universal.main(wanted)


def _disguise(source: Path, target: Path, *, zero_stage: int, offload: bool) -> list[str]:
    """Copy a state whose optimizer is Muon, momentum under the names of Adam's; the names of the parameters it is for.
    Any other state is left alone: no names."""
    paths = sorted(source.glob("*_optim_states.pt"), key=lambda path: int(path.name.split("_rank_")[1].split("_")[0]))
    if not any(_MOMENTUM in own for path in paths for own in _optimizer(_load(path), zero_stage)["state"].values()):
        return []
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*_optim_states.pt"))
    shapes = _load(sorted(source.glob("*_model_states.pt"))[0])["param_shapes"]
    done: dict[str, int] = {}
    names: list[str] = []
    for path in paths:
        saved = _load(path)
        states = _optimizer(saved, zero_stage)["state"]
        for number, named in enumerate(shapes):
            own = states.get(number, {})
            if "exp_avg" in own:
                continue
            names += [name for name in named if name not in names]
            momentum = own.get(_MOMENTUM)
            if zero_stage < 3 and (momentum is None or not offload):
                momentum = _sliced(momentum, saved["optimizer_state_dict"], number, named, done)
            states[number] = {"exp_avg": momentum, "exp_avg_sq": momentum}
        torch.save(saved, target / path.name)
    return names


def _sliced(
    whole: Tensor | None, state: dict[str, Any], number: int, shapes: dict[str, torch.Size], done: dict[str, int]
) -> Tensor:
    """One worker's slice of the momentum, laid out like its weights. It keeps the whole momentum of every matrix that
    it has a fragment of, one after another; `done` counts the numbers of each that workers before it have. Padding is
    saved with moments, not with weights, and the converter cuts it off."""
    flat = torch.zeros(state["single_partition_of_fp32_groups"][number].numel() + state["group_paddings"][number])
    place = 0
    for name, fragment in state["param_slice_mappings"][number].items():
        if whole is not None:
            matrix = whole[place : place + shapes[name].numel()]
            begin = done.get(name, 0)
            flat[fragment.start : fragment.start + fragment.numel] = matrix[begin : begin + fragment.numel]
        place += shapes[name].numel()
        done[name] = done.get(name, 0) + fragment.numel
    return flat


def _optimizer(saved: dict[str, Any], zero_stage: int) -> dict[str, Any]:
    """The state of the optimizer within what ZeRO saved."""
    key = "optimizer_state_dict" if zero_stage == 3 else "base_optimizer_state"
    found: dict[str, Any] = saved["optimizer_state_dict"][key]
    return found


def _load(path: Path) -> dict[str, Any]:
    """A state of our own run folder, and of its types no more than DeepSpeed puts there."""
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    with torch.serialization.safe_globals([LossScaler, ZeroStageEnum, fragment_address]):
        loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return loaded


def own_steps(optimizer: torch.optim.Optimizer) -> None:
    """Give every state a count of its own: a shared one would be raised once for each."""
    for state in optimizer.state.values():
        if torch.is_tensor(state.get("step")):
            state["step"] = state["step"].clone()


def own_momentum(zero: Any) -> None:
    """After ZeRO 3 has loaded Muon's momentum as Adam's first moment, under its own name again."""
    for number, slices in enumerate(zero.fp32_partitioned_groups_flat):
        state = zero.optimizer.state[slices]
        if zero.optimizer.param_groups[zero.sub_group_to_group_id[number]].get("use_muon"):
            state[_MOMENTUM] = state.pop("exp_avg")
            del state["exp_avg_sq"], state["step"]


def whole_momentum(zero: Any, universal: Path) -> None:
    """ZeRO 1 and 2 keep the whole momentum of every matrix that this worker has a fragment of."""
    for number, group in enumerate(zero.optimizer.param_groups):
        if not group.get("use_muon"):
            continue
        paths = [universal / "zero" / zero.param_names[p] / f"{_MOMENTUM}.pt" for p in zero.params_in_partition[number]]
        found = [torch.load(path, map_location="cpu", weights_only=True)["param"].flatten() for path in paths]
        flat = group["params"][0]
        zero.optimizer.state[flat] = {_MOMENTUM: torch.cat(found).to(flat.device)} if found else {}
