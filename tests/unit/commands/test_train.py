"""`volano train plan` says what a run needs, with every assumption, and refuses what cannot be."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from typer.testing import CliRunner

from jobs.plan import document, main
from volano.cli import app


def volano(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["train", "plan", *arguments])
    return done.exit_code, done.output


def test_the_papers_size_is_planned_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(["qwen_vla_4b", "--gpus", "8", "assume.images=3", "stages.1.batch=512"])
    found = json.loads(capsys.readouterr().out)
    assert found["weights"]["expert"] == pytest.approx(1.15e9, rel=0.01)
    assert found["assumptions"]["images"] == 3
    t2a, cpt, sft = found["stages"]
    assert (t2a["name"], cpt["share"], sft["name"]) == ("t2a", 64, "sft")
    assert cpt["cannot"] == [0]
    assert cpt["chosen"]["bytes"] <= 80e9
    assert cpt["configured"]["checkpointing"]
    more = document("qwen_vla_4b", ["stages.1.passes=4"], gpus=8, gpu_memory_gb=80.0)["stages"][1]
    assert more["configured"]["bytes"] < cpt["configured"]["bytes"]


def test_a_table_prints_every_assumption() -> None:
    status, said = volano("nano", "--gpus", "2", "--gpu-memory-gb", "24")
    assert status == 0
    for stage in ("t2a", "sft"):
        assert f"stage {stage}:" in said
    assert "chosen: ZeRO 0" in said
    assert "as the recipe says: ZeRO 1, all in one pass" in said
    printed = {line.split()[0] for line in said.partition("\nassumed")[2].splitlines()[1:-1]}
    assumptions = document("nano", (), gpus=2, gpu_memory_gb=24.0)["assumptions"]
    assert printed == set(names(assumptions))
    assert said.endswith("next: volano train run nano --help\n")


def names(data: Mapping[str, Any], before: str = "") -> list[str]:
    found = []
    for name, value in data.items():
        found += names(value, f"{before}{name}.") if isinstance(value, dict) else [before + name]
    return found


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (["nano", "--gpus", "3"], 1, "E-TRAIN-003"),
        (["qwen_vla_4b", "--gpus", "8", "--gpu-memory-gb", "8"], 1, "E-TRAIN-005"),
        (["nano", "--gpus", "2", "assume.imags=3"], 2, "E-CONFIG-002"),
        (["nano", "--gpus", "2", "assume.utilisation=0"], 2, "E-CONFIG-003"),
        (["nanu", "--gpus", "2"], 2, "E-CONFIG-001"),
    ],
)
def test_what_cannot_be_is_refused_with_a_code(
    arguments: list[str], status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == status
    assert code in caplog.text
