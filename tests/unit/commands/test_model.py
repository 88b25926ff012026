"""`volano model params` counts, as a table and as JSON, and names the nearest recipe."""

import json

import pytest
from typer.testing import CliRunner

from jobs.model import main
from volano.cli import app


def volano(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["model", "params", *arguments])
    return done.exit_code, done.output


def test_the_papers_expert_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    main(["params", "qwen_vla_4b"])
    found = json.loads(capsys.readouterr().out)
    assert sum(part["matrices"] for part in found["expert"].values()) == 1_148_780_544


def test_a_table_ends_with_what_is_next() -> None:
    status, said = volano("nano", "model.expert.blocks=1")
    assert status == 0
    assert "next: volano train run nano" in said


def test_an_unknown_recipe_is_refused_with_the_nearest(capfd: pytest.CaptureFixture[str]) -> None:
    status, _ = volano("qwen_vla_4B")
    assert status == 2
    assert "did you mean 'qwen_vla_4b'" in capfd.readouterr().err
