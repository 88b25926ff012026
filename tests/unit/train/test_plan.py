"""The plan's numbers are those of a network that really runs: its states exactly, what autograd keeps within a tenth,
its operations within a twentieth; and what is chosen from them fits."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tests.unit.model.tiny import sample, tiny_policy
from volano.errors import Code, TrainError
from volano.model.config import BackboneConfig, BackboneFamily, ExpertConfig, LinearAttentionConfig, VisionConfig
from volano.model.count import backbone_parts, expert_parts
from volano.model.policy import Policy, Sample
from volano.train.activations import Numerics, SampleShape, activations
from volano.train.config import EngineConfig, OptimizerConfig, RunConfig, StageConfig
from volano.train.engine import PlainEngine, computing
from volano.train.flops import flops
from volano.train.parts import BACKBONE, is_backbone_frozen, part_of
from volano.train.plan import Assumptions, StateBytes, Weights, choose, plan, plan_stage, states, traffic
from volano.train.snapshot import Snapshot

FP32 = Numerics(compute=4, layer_norm=4, attention="math")
PLAIN = StateBytes(weight=4, gradient=4, master=0, moments=8, average=4)
WORDS = "open the door the red box the red box turn left at the"


def narrow(family: BackboneFamily = "qwen3_vl") -> dict[str, Any]:
    """Deep, with shared keys, odd head widths and a second way into the language model."""
    backbone = BackboneConfig(
        family=family,
        width=256,
        layers=4,
        heads=4,
        key_value_heads=2,
        head_width=48 if family == "qwen3_vl" else 64,
        mlp_width=640,
        vocabulary=600,
        rope_sections=(4, 2, 2) if family == "qwen3_5" else (8, 8, 8) if family == "qwen3_vl" else (12, 10, 10),
        linear=LinearAttentionConfig(full_every=4, key_heads=4, value_heads=8, head_width=64),
        vision=VisionConfig(
            depth=3, width=208, heads=4, patch_size=16, deep_layers=() if family == "qwen3_5" else (1,)
        ),
    )
    return {
        "backbone": backbone,
        "expert": ExpertConfig(width=256, blocks=4, heads=4, mlp_width=1024, rope_sections=(6, 5, 5)),
    }


def wide() -> dict[str, Any]:
    """Shallow, 512 wide, a key for every head, an expert without gates, two noise draws."""
    backbone = BackboneConfig(
        width=512,
        layers=2,
        heads=8,
        key_value_heads=8,
        head_width=64,
        mlp_width=1536,
        vocabulary=600,
        rope_sections=(12, 10, 10),
        vision=VisionConfig(depth=2, width=256, heads=4, patch_size=16),
    )
    expert = ExpertConfig(
        width=384, blocks=3, heads=6, mlp="gelu", mlp_width=1280, modulation="scale_shift", rope_sections=(6, 5, 5)
    )
    return {"backbone": backbone, "expert": expert}


def samples_of(count: int, side: int) -> list[Sample]:
    """Some with many words and some with few."""
    found = []
    for seed in range(count):
        pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)
        found.append(replace(sample("sawyer", WORDS if seed % 2 else "open the door", seed), images=(pixels,)))
    return found


def shape_of(policy: Policy, samples: Sequence[Sample], side: int) -> SampleShape:
    tokens = round(len(policy.batch(samples).prompted.tokens_T) / len(samples))
    bare = SampleShape(images=1, image_height=side, image_width=side, prompt_tokens=0)
    return replace(bare, prompt_tokens=tokens - bare.tokens(policy.config.backbone.vision))


def loss_of(policy: Policy, samples: Sequence[Sample], *, frozen: bool) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return policy.loss(policy.batch(samples), "logit_normal", generator, freeze_backbone=frozen).mean()


def kept_bytes(policy: Policy, samples: Sequence[Sample], *, frozen: bool, precision: str, fused: bool) -> int:
    """Bytes of the distinct storages that autograd saves, weights not counted."""
    policy.backbone.requires_grad_(not frozen)
    owned = {parameter.untyped_storage().data_ptr() for parameter in policy.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)  # held, so that no address is used twice
        return tensor

    kernels = (
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
        if fused
        else computing(EngineConfig(precision=cast(Any, precision)))
    )
    with kernels, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss_of(policy, samples, frozen=frozen)
    return sum(tensor.untyped_storage().nbytes() for address, tensor in kept.items() if address not in owned)


@pytest.mark.parametrize("shape", [narrow(), wide()], ids=["narrow", "wide"])
@pytest.mark.parametrize(("count", "side"), [(2, 160), (4, 128)])
@pytest.mark.parametrize("frozen", [False, True], ids=["trained", "frozen"])
def test_activations_are_what_autograd_keeps(shape: dict[str, Any], count: int, side: int, frozen: bool) -> None:
    policy, samples = tiny_policy(**shape), samples_of(count, side)
    for numerics in (FP32, replace(FP32, attention="fused")):
        measured = kept_bytes(policy, samples, frozen=frozen, precision="fp32", fused=numerics.attention == "fused")
        predicted = activations(
            policy.config, shape_of(policy, samples, side), numerics, batch=count, frozen=frozen
        ).total
        assert predicted == pytest.approx(measured, rel=0.1), numerics


@pytest.mark.parametrize("family", ["qwen3_5", "qwen2_5_vl"])
def test_other_families_keep_what_is_predicted(family: BackboneFamily) -> None:
    policy, samples = tiny_policy(**narrow(family)), samples_of(2, 160)
    measured = kept_bytes(policy, samples, frozen=False, precision="fp32", fused=True)
    shape = shape_of(policy, samples, 160)
    predicted = activations(policy.config, shape, replace(FP32, attention="fused"), batch=2, frozen=False).total
    assert predicted == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen3_5"])
def test_bf16_keeps_what_is_predicted(family: BackboneFamily) -> None:
    """The CPU's autocast computes a LayerNorm in bf16, CUDA's in fp32: a field of the numerics."""
    policy, samples = tiny_policy(**narrow(family)).bfloat16(), samples_of(2, 160)
    measured = kept_bytes(policy, samples, frozen=False, precision="bf16", fused=True)
    numerics = Numerics(compute=2, layer_norm=2, attention="fused")
    predicted = activations(policy.config, shape_of(policy, samples, 160), numerics, batch=2, frozen=False).total
    assert predicted == pytest.approx(measured, rel=0.1)


def weights_of(policy: Policy) -> Weights:
    parts = backbone_parts(policy)
    return Weights(
        expert=sum(part.total for part in expert_parts(policy)),
        backbone=sum(part.total for part in parts),
        language_matrices=next(part.matrices for part in parts if part.name == "language layers"),
        vision=next(part.total for part in parts if part.name == "vision"),
        embeddings=sum(part.total for part in parts if part.name in ("word embedding", "head")),
    )


FREEZINGS = [(), BACKBONE, ("vision", "connector"), ("language",), ("expert",), ("vision", "connector", "embeddings")]


@pytest.mark.parametrize("frozen", FREEZINGS, ids="-".join)
def test_states_are_the_plain_engines(frozen: Sequence[str]) -> None:
    policy = tiny_policy(**narrow())
    engine = PlainEngine(policy, OptimizerConfig(), frozen=frozen)
    with computing(EngineConfig()):
        engine.backward(loss_of(policy, samples_of(2, 128), frozen=is_backbone_frozen(frozen)), last=True)
        engine.update(1.0)
    expected = states(weights_of(policy), PLAIN, frozen=frozen, zero_stage=0, ranks=1)
    assert sum(p.nbytes for p in policy.parameters()) == expected.weights == expected.average
    assert sum(p.grad.nbytes for p in policy.parameters() if p.grad is not None) == expected.gradients
    moments = [value for state in engine._optimizer.state.values() for key, value in state.items() if key != "step"]
    assert sum(moment.nbytes for moment in moments) == expected.optimizer
    assert expected.update == 0
    snapshot = Snapshot()
    snapshot.take({**engine.states(), "average": {name: w.clone() for name, w in engine.current().items()}})
    copied = states(weights_of(policy), replace(PLAIN, copied=True), frozen=frozen, zero_stage=0, ranks=1).copy
    assert snapshot.bytes == pytest.approx(copied, rel=1e-3)  # Adam's counts of steps


@pytest.mark.parametrize("frozen", FREEZINGS, ids="-".join)
@pytest.mark.parametrize("shape", [narrow(), wide(), narrow("qwen3_5")], ids=["narrow", "wide", "qwen3_5"])
def test_operations_are_those_that_are_executed(shape: dict[str, Any], frozen: Sequence[str]) -> None:
    policy, samples = tiny_policy(**shape), samples_of(2, 160)
    for name, parameter in policy.named_parameters():
        parameter.requires_grad_(part_of(name) not in frozen)
    with computing(EngineConfig()), FlopCounterMode(display=False) as counter:
        loss_of(policy, samples, frozen=is_backbone_frozen(frozen)).backward()
    counted = flops(policy.config, shape_of(policy, samples, 160), weights_of(policy).language_matrices)
    found = {str(operation): float(count) for operation, count in counter.get_flop_counts()["Global"].items()}
    if found.pop("aten.convolution_backward", 0):  # which torch counts as if each channel met every other
        found["aten.convolution"] *= 3
    assert 2 * counted.trained(frozen) == pytest.approx(sum(found.values()), rel=0.05)


def test_checkpointed_layers_keep_their_inputs_alone() -> None:
    """The library's layers; what they keep while one is computed again is left out on both sides."""
    policy, samples = tiny_policy(**narrow()), samples_of(2, 160)
    shape = shape_of(policy, samples, 160)
    whole = kept_bytes(policy, samples, frozen=False, precision="fp32", fused=False)
    policy.train()
    policy.backbone.network.activation_checkpointing_enable({"use_reentrant": False})
    saved = whole - kept_bytes(policy, samples, frozen=False, precision="fp32", fused=False)
    backbone = policy.config.backbone
    kept = [activations(policy.config, shape, FP32, batch=2, frozen=False, checkpointing=on) for on in (False, True)]
    text, tower = (kept[0].language - kept[1].language, kept[0].vision - kept[1].vision)
    one_whole = text / (backbone.layers - 1) + tower / (backbone.vision.depth - 1)
    assert text + tower + one_whole == pytest.approx(saved, rel=0.1)


STAGE = StageConfig(name="sft", steps=100, batch=64, images=True, tau="beta_clean")
LARGE = Weights(expert=1_000_000_000, backbone=4_000_000_000, language_matrices=3_500_000_000)


def run_of(stage: StageConfig = STAGE) -> RunConfig:
    return RunConfig(
        recipe="tiny", model=tiny_policy(**narrow()).config, stages=(stage,), engine=EngineConfig(zero_stage=2)
    )


def test_each_zero_stage_shares_out_what_it_says() -> None:
    parts = [states(LARGE, StateBytes(), frozen=(), zero_stage=zero, ranks=10) for zero in range(4)]
    assert [part.optimizer for part in parts] == [60e9, 6e9, 6e9, 6e9]
    assert [part.gradients for part in parts] == [10e9, 10e9, 1e9, 1e9]
    assert [part.weights for part in parts] == [10e9, 10e9, 10e9, 1e9]
    assert [part.average for part in parts] == [20e9, 20e9, 20e9, 2e9]
    copied = [
        states(LARGE, replace(StateBytes(), copied=True), frozen=(), zero_stage=zero, ranks=10) for zero in range(4)
    ]
    assert [part.copy for part in copied] == [90e9, 36e9, 36e9, 26e9]
    assert {part.copy for part in parts} == {0}
    assert states(LARGE, StateBytes(), frozen=BACKBONE, zero_stage=0, ranks=10).optimizer == 12e9
    assert states(LARGE, StateBytes(), frozen=(), zero_stage=1, ranks=10, offload=True).update == 0


def test_adapters_learn_in_the_backbones_stead() -> None:
    adapted = replace(LARGE, vision=300_000_000, embeddings=200_000_000, adapters=10_000_000)
    assert adapted.trained(()) == 1_010_000_000
    assert adapted.trained(("language",)) == adapted.trained(BACKBONE) == 1_000_000_000


def test_traffic_is_what_rings_send() -> None:
    def sent(zero_stage: int, passes: int = 1, *, frozen: Sequence[str] = ()) -> float:
        return traffic(LARGE, StateBytes(), frozen=frozen, zero_stage=zero_stage, ranks=10, passes=passes)

    assert [sent(zero) for zero in range(4)] == pytest.approx([18e9, 18e9, 18e9, 27e9])
    assert [sent(zero, 2) for zero in range(4)] == pytest.approx([18e9, 18e9, 27e9, 54e9])
    assert sent(0, frozen=BACKBONE) == pytest.approx(3.6e9)
    assert traffic(LARGE, StateBytes(), frozen=(), zero_stage=3, ranks=1, passes=1) == 0


@pytest.mark.parametrize("memory", [40.0, 60.0, 80.0, 192.0])
def test_the_chosen_micro_batch_is_the_largest_that_fits(memory: float) -> None:
    run = run_of(replace(STAGE, batch=8 * 500))
    run = replace(run, model=replace(run.model, backbone=replace(run.model.backbone, layers=100)))
    [found] = plan(run, LARGE, Assumptions(), gpus=8, gpu_memory_gb=memory)
    for option in found.options:
        if option.micro_batch:
            assert option.memory(option.micro_batch) <= memory * 1e9
        if option.micro_batch < found.share:
            assert option.memory(option.micro_batch + 1) > memory * 1e9
    assert found.chosen.micro_batch == max(option.micro_batch for option in found.options)
    assert found.step.passes == -(-found.share // found.chosen.micro_batch)
    assert (0 in found.cannot) == (memory < 115)
    assert found.configured.zero_stage == 2
    assert not found.configured.checkpointing
    [again] = plan(replace(run, engine=EngineConfig(recompute=True)), LARGE, Assumptions(), gpus=8, gpu_memory_gb=192)
    assert (again.configured.zero_stage, again.configured.checkpointing) == (1, True)


def test_what_costs_least_is_chosen_when_all_fit() -> None:
    found = plan_stage(run_of(), STAGE, LARGE, Assumptions(), gpus=8, gpu_memory_gb=1000)
    assert (found.chosen.zero_stage, found.chosen.offload, found.chosen.checkpointing) == (0, False, False)
    options, seconds = found.options, [2.0] * len(found.options)
    assert choose(options, seconds, 8) == 0
    assert choose(options, [*seconds[:5], 1.0, *seconds[6:]], 8) == 5
    assert choose(options, [*seconds[:-1], 1.0], 8) == 0, "offload is the last resort"
    assert choose([replace(option, micro_batch=number) for number, option in enumerate(options)], seconds, 64) == 13
    assert choose([replace(option, micro_batch=0) for option in options], seconds, 8) is None


def test_a_step_lasts_as_long_as_its_computing_or_its_traffic() -> None:
    slow = plan_stage(run_of(), STAGE, LARGE, Assumptions(link_gb_per_s=1), gpus=8, gpu_memory_gb=1000)
    fast = plan_stage(run_of(), STAGE, LARGE, Assumptions(link_gb_per_s=1e6), gpus=8, gpu_memory_gb=1000)
    assert slow.samples_per_s == pytest.approx(64 / slow.step.traffic_s)
    assert fast.samples_per_s == pytest.approx(64 / fast.step.compute_s)
    assert fast.step.compute_s == pytest.approx(8 * fast.step.flops_per_sample / (0.35 * 989e12))
    assert slow.days == pytest.approx(100 * slow.step.traffic_s / 86400)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(TrainError) as caught:
        plan(run_of(), LARGE, Assumptions(), gpus=8, gpu_memory_gb=8)
    assert caught.value.code == Code.TRAIN_MEMORY
    assert "stage sft" in caught.value.cause
    for gpus in (0, 7):
        with pytest.raises(TrainError) as caught:
            plan(run_of(), LARGE, Assumptions(), gpus=gpus, gpu_memory_gb=80)
        assert caught.value.code == Code.TRAIN_DATA
