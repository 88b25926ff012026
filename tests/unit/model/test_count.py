"""The network of the paper's size has the paper's number of weights."""

import pytest

from jobs.model import tables
from jobs.recipes import recipe
from volano.model.count import Part

PAPER = {
    "blocks": 1_132_462_080,
    "action MLPs": 4_919_872,
    "VLM to expert": 3_933_696,
    "timestep MLP": 2_755_584,
    "output modulation": 4_721_664,
}
"""Weights, with biases in all rows but the first, whose split is open (arXiv 2605.30280, parameter table)."""


@pytest.fixture(scope="module")
def parts() -> dict[str, list[Part]]:
    return tables(recipe("qwen_vla_4b").model)


def test_each_row_of_the_papers_table_is_met(parts: dict[str, list[Part]]) -> None:
    found = {part.name: part.matrices if part.name == "blocks" else part.total for part in parts["expert"]}
    assert found.keys() == PAPER.keys()
    for name, expected in PAPER.items():
        assert found[name] == pytest.approx(expected, rel=1e-3), name
    assert sum(part.total for part in parts["expert"]) == pytest.approx(1.15e9, rel=2e-3)
    assert sum(part.matrices for part in parts["expert"]) == 1_148_780_544


def test_the_backbone_has_about_four_billion(parts: dict[str, list[Part]]) -> None:
    together = sum(part.total for part in parts["backbone"])
    assert 4.0e9 < together < 4.8e9
