"""A run that its workers' memory cannot hold is refused with numbers, and what is advised would fit."""

import re
from dataclasses import replace

import pytest

from jobs.plan import weights
from jobs.recipes import recipe
from jobs.train_memory import gpu_room, host_room, why_unknown, with_cameras
from tests.unit.model.tiny import tiny_backbone, tiny_model
from tests.unit.train.test_loop import RUN
from volano.config import apply
from volano.embodiment.shipped import SHIPPED
from volano.errors import TrainError
from volano.model.config import BackboneFamily
from volano.train.config import EngineConfig, RunConfig
from volano.train.memory import Fitting, Room, bound, on_processors
from volano.train.plan import Assumptions, Weights, states

PAPER = recipe("qwen_vla_4b")
COUNTED = Weights(
    expert=1_149_000_000,
    backbone=4_540_000_000,
    language_matrices=3_570_000_000,
    vision=333_000_000,
    embeddings=636_000_000,
)


def fitting(run: RunConfig = PAPER, workers: int = 8, gb: float = 80.0) -> Fitting:
    room = Room(gb=gb, is_host=False, what="a GPU")
    return Fitting(run=run, weights=COUNTED, assumed=Assumptions(), room=room, workers=workers)


def advised(run: RunConfig, workers: int = 8, gb: float = 80.0) -> str:
    with pytest.raises(
        TrainError, match=rf"(?s)E-TRAIN-005 .* GB for each of {workers} workers.*{gb:.2f} GB"
    ) as caught:
        fitting(run, workers, gb).check()
    return caught.value.fix


def test_what_is_advised_fits() -> None:
    run = replace(PAPER, engine=replace(PAPER.engine, recompute=False))
    for _ in range(len(run.stages)):  # each stage may want its own
        try:
            fitting(run).check()
        except TrainError as error:
            run = apply(run, re.findall(r"[\w.]+=[\w.]+", error.fix))
    fitting(run).check()
    assert run != PAPER


def test_the_mildest_change_comes_first() -> None:
    assert "stages.1.passes=2" in advised(PAPER)
    assert "engine.zero_stage" not in advised(PAPER)
    kept = replace(PAPER, engine=replace(PAPER.engine, recompute=False))
    assert "passes" in advised(kept) or "engine.recompute=true" in advised(kept)


def test_where_nothing_helps_more_memory_is_asked_for() -> None:
    assert advised(PAPER, workers=8, gb=8.0).startswith("take workers with more memory, or more of them")


def test_a_host_offloads_to_itself() -> None:
    run = replace(PAPER, engine=EngineConfig(zero_stage=1, offload=True, recompute=True))
    room = Room(gb=80.0, is_host=True, what="a host")
    case = Fitting(run=run, weights=COUNTED, assumed=on_processors(run), room=room, workers=8)
    with pytest.raises(TrainError, match="E-TRAIN-005") as caught:
        case.check()
    assert "offload" not in caught.value.fix


def test_a_host_holds_the_copy_of_what_is_written_as_well() -> None:
    run = replace(PAPER, engine=EngineConfig(zero_stage=1))
    found = states(COUNTED, on_processors(run).state, frozen=(), zero_stage=1, ranks=8)
    assert found.copy == (4 + 4 + 12 / 8) * COUNTED.total
    assert found.average == 4 * COUNTED.total


@pytest.mark.parametrize("name", ["nano", "nano_t2a", "qwen_vla_4b"])
def test_the_bound_of_a_recipe_is_above_its_weights_and_near(name: str) -> None:
    run = recipe(name)
    counted, most = weights(run), bound(run.model)
    for field in ("expert", "backbone", "language_matrices", "vision", "embeddings"):
        assert getattr(counted, field) <= getattr(most, field) <= 3 * getattr(counted, field), field


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen3_5", "qwen2_5_vl"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_bound_holds_for_every_family(family: BackboneFamily, tied: bool) -> None:
    run = replace(RUN, model=tiny_model(backbone=replace(tiny_backbone(family), tied=tied)))
    counted, most = weights(run), bound(run.model)
    assert counted.expert <= most.expert
    assert counted.backbone <= most.backbone


def test_the_nano_recipe_fits_a_laptop_without_being_counted() -> None:
    run = recipe("nano")
    room = Room(gb=4.0, is_host=True, what="a laptop")
    assumed = with_cameras(on_processors(run), SHIPPED)
    Fitting(run=run, weights=bound(run.model), assumed=assumed, room=room, workers=2).check()


def test_workers_share_the_memory_of_their_nodes() -> None:
    nodes = [{"memory": 8e9, "object_store_memory": 2e9, "CPU": 4.0}, {"memory": 40e9, "CPU": 2.0}]
    shares = [host_room(nodes, workers) for workers in (1, 2, 3, 6, 7)]
    assert [None if room is None else room.gb for room in shares] == [40.0, 20.0, 10.0, 2.5, None]
    assert host_room([{"CPU": 2.0}], 1) is None


def test_too_few_cores_are_named() -> None:
    nodes = [{"memory": 8e9, "CPU": 1.0}, {"memory": 8e9, "CPU": 2.0}]
    assert host_room(nodes, 4) is None
    assert "3 cores, and 4 workers" in why_unknown(nodes, 4)
    assert "nothing is known of the memory" in why_unknown([{"CPU": 4.0}], 4)


def test_gpus_are_known_by_their_accelerator_type() -> None:
    room = gpu_room([{"CPU": 8.0, "accelerator_type:H100": 1.0}, {"accelerator_type:L4": 1.0}])
    assert room is not None
    assert (room.gb, room.is_host) == (80.0, False)
    assert gpu_room([{"GPU": 1.0}]) is None
    assert gpu_room([{"accelerator_type:H100": 1.0, "accelerator_type:X9": 1.0}]) is None
