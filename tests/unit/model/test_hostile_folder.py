"""A policy folder whose files lie is refused with a code, quickly, before memory is taken for what it names."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.model.tiny import tiny_policy
from volano.errors import Code, PolicyError
from volano.model.folder import load, save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tiny_policy(), tmp_path)
    return tmp_path


def refused(folder: Path) -> None:
    with pytest.raises(PolicyError) as caught:
        load(folder)
    assert caught.value.code is Code.POLICY_FORMAT


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("backbone", "width"), 1 << 20),
        (("backbone", "width"), 10**9),
        (("backbone", "layers"), 10**7),
        (("backbone", "layers"), 1000),
        (("backbone", "heads"), 0),
        (("backbone", "vocabulary"), 1 << 20),
        (("expert", "blocks"), 10**7),
        (("expert", "mlp_width"), 1 << 20),
        (("flow", "integration_steps"), 10**9),
        (("horizon",), 10**12),
        (("horizon",), -1),
    ],
)
def test_a_network_that_its_weights_do_not_fill_is_not_built(folder: Path, keys: tuple[str, ...], value: int) -> None:
    config = json.loads((folder / "config.json").read_text())
    part: dict[str, Any] = config["model"]
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder)


@pytest.mark.parametrize("name", ["config.json", "statistics.json", "embodiments.json", "tokenizer.json"])
@pytest.mark.parametrize("content", ["[" * 200_000, "{}", "null", "", "\ud800".encode("utf-8", "surrogatepass")])
def test_no_file_is_more_than_refused(folder: Path, name: str, content: str | bytes) -> None:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    if (name, content) != ("embodiments.json", "{}"):
        refused(folder)


@pytest.mark.parametrize("lie", ["NaN", "Infinity", "2.0", '"x"', "null"])
def test_statistics_are_rising_numbers(folder: Path, lie: str) -> None:
    text = (folder / "statistics.json").read_text()
    (folder / "statistics.json").write_text(text.replace("-1.0", lie, 1))
    refused(folder)
