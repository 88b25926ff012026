"""What no engine does is refused before any step, and every refusal says what to use."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.train.test_loop import MUON, RUN, STAGES
from volano.errors import TrainError
from volano.train.build import check, layout
from volano.train.config import EngineConfig, FeedConfig, OptimizerConfig


@pytest.mark.parametrize(
    ("engine", "world", "code", "use"),
    [
        (EngineConfig(kind="horovod"), 1, "E-TRAIN-004", "plain or deepspeed"),
        (EngineConfig(kind="plain"), 2, "E-TRAIN-004", "engine.kind=deepspeed"),
        (EngineConfig(kind="plain", offload=True), 1, "E-TRAIN-004", "engine.kind=deepspeed"),
        (EngineConfig(zero_stage=4), 2, "E-TRAIN-004", "use 0, 1, 2 or 3"),
        (EngineConfig(zero_stage=-1), 2, "E-TRAIN-004", "use 0, 1, 2 or 3"),
        (EngineConfig(zero_stage=0, offload=True), 2, "E-TRAIN-004", "engine.zero_stage=1, 2 or 3"),
        (EngineConfig(zero_stage=3, compile=True), 2, "E-TRAIN-004", "engine.zero_stage=2"),
        (EngineConfig(zero_stage=2), 5, "E-TRAIN-003", "at most 4 workers"),
    ],
)
def test_what_no_engine_does_is_refused(engine: EngineConfig, world: int, code: str, use: str) -> None:
    with pytest.raises(TrainError, match=rf"(?s){code} .*{use}"):
        check(replace(RUN, engine=engine), world)


def test_a_feed_without_decoders_is_refused() -> None:
    with pytest.raises(TrainError, match=r"(?s)E-TRAIN-004 .*feed.decoders=1"):
        check(replace(RUN, feed=FeedConfig(decoders=0)), 1)


def test_muon_with_clipping_is_refused_in_whatever_stage() -> None:
    clipped = replace(STAGES[1], optimizer=OptimizerConfig(kind="muon"))
    with pytest.raises(TrainError, match=r"(?s)E-TRAIN-004 .*clip to 0"):
        check(replace(RUN, stages=(STAGES[0], clipped)), 1)


def test_fewer_questions_than_workers_are_refused() -> None:
    with pytest.raises(TrainError, match=r"(?s)E-TRAIN-003 .*2 samples a step.*3 workers"):
        check(replace(RUN, engine=EngineConfig(), stages=(replace(STAGES[1], vl_batch=2),)), 3)


@given(st.sampled_from([0, 1, 2, 3]), st.booleans(), st.sampled_from([OptimizerConfig(), MUON]), st.integers(1, 4))
def test_every_other_combination_is_let_through_under_a_layout_of_its_own(
    zero_stage: int, offload: bool, optimizer: OptimizerConfig, world: int
) -> None:
    engine = EngineConfig(zero_stage=zero_stage, offload=offload and zero_stage > 0)
    stages = tuple(replace(stage, optimizer=optimizer) for stage in STAGES)
    check(replace(RUN, engine=engine, stages=stages), world)
    others = {
        layout(EngineConfig(zero_stage=s, offload=o), replace(STAGES[0], optimizer=kind))
        for s in range(4)
        for o in (False, True)
        for kind in (OptimizerConfig(), MUON)
        if (s, o, kind) != (engine.zero_stage, engine.offload, optimizer)
    }
    ours = layout(engine, stages[0])
    assert ours not in others
    assert ours != layout(engine, replace(stages[0], frozen=()))
