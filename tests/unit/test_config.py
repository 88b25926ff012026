"""Overrides reach their field with its type or are refused by name; saved configurations come back equal."""

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volano.config import SCHEMA_VERSION, apply, digest, load_json, to_json
from volano.errors import Code, ConfigError
from volano.storage.content import canonical_json


@dataclass(frozen=True, kw_only=True)
class Stage:
    name: str
    steps: int
    shares: dict[str, float] = field(default_factory=dict)
    betas: tuple[float, float] = (0.9, 0.95)


@dataclass(frozen=True, kw_only=True)
class Model:
    width: int
    mlp: Literal["swiglu", "gelu"] = "swiglu"
    sections: tuple[int, ...] = (6, 5)


@dataclass(frozen=True, kw_only=True)
class Run:
    recipe: str
    model: Model
    stages: tuple[Stage, ...]
    rate: float = 1e-3
    images: bool = False
    limit: int | None = None


RUN = Run(
    recipe="small",
    model=Model(width=8),
    stages=(Stage(name="a", steps=1, shares={"arm": 0.5}), Stage(name="b", steps=2)),
)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("rate=1e-4", replace(RUN, rate=1e-4)),
        ("rate=1", replace(RUN, rate=1.0)),
        ("images=true", replace(RUN, images=True)),
        ("limit=7", replace(RUN, limit=7)),
        ("limit=null", RUN),
        ("recipe=007", replace(RUN, recipe="007")),
        ("recipe=a=b", replace(RUN, recipe="a=b")),
        ("recipe=", replace(RUN, recipe="")),
        ("model.mlp=gelu", replace(RUN, model=replace(RUN.model, mlp="gelu"))),
        ("model.sections=[1, 2, 3]", replace(RUN, model=replace(RUN.model, sections=(1, 2, 3)))),
        ("stages.1.steps=90", replace(RUN, stages=(RUN.stages[0], replace(RUN.stages[1], steps=90)))),
        ("stages.0.betas=[0, 1]", replace(RUN, stages=(replace(RUN.stages[0], betas=(0.0, 1.0)), RUN.stages[1]))),
        ("stages.1.shares.car=1", replace(RUN, stages=(RUN.stages[0], replace(RUN.stages[1], shares={"car": 1.0})))),
        ("stages.0.shares={}", replace(RUN, stages=(replace(RUN.stages[0], shares={}), RUN.stages[1]))),
    ],
)
def test_override_reaches_its_field(override: str, expected: Run) -> None:
    changed = apply(RUN, [override])
    assert changed == expected
    assert repr(changed) == repr(expected), "a field has another type"
    assert RUN.stages[0].shares == {"arm": 0.5}, "the original was changed"


def test_later_overrides_win() -> None:
    assert apply(RUN, ["model.width=1", "model.width=2"]).model.width == 2


@pytest.mark.parametrize(
    ("override", "nearest"),
    [("modle.width=1", "model"), ("model.widht=1", "width"), ("stages.0.step=1", "steps"), ("reccipe=x", "recipe")],
)
def test_unknown_key_names_the_nearest(override: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        apply(RUN, [override])
    assert caught.value.code is Code.CONFIG_KEY
    assert repr(nearest) in caught.value.fix


@pytest.mark.parametrize(
    "key", ["", "model.", ".model", "stages.2.steps", "stages.x.steps", "rate.x", "stages.-1.steps"]
)
def test_key_that_leads_nowhere_is_refused(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        apply(RUN, [f"{key}=1"])
    assert caught.value.code is Code.CONFIG_KEY


@pytest.mark.parametrize(
    "override",
    [
        "rate",
        "rate=fast",
        "rate=nan",
        "rate=.inf",
        "images=maybe",
        "limit=1.5",
        "model.width=true",
        "model.width=null",
        "model.width=[1]",
        "model.mlp=relu",
        "model.sections=5",
        "model.sections=[a]",
        "model.sections.0=5",
        "model=3",
        "stages=[]",
        "stages.0.betas=[1]",
        "stages.0.betas=[1, 2, 3]",
        "stages.0.shares.arm=much",
        "stages.0.shares=[1]",
        "model.width={a: [}",
        "model.width=!!python/name:os.system",
        "recipe=${oc.env:HOME}",
        "recipe=???",
        "stages.0.shares={'${rate}': 1}",
    ],
)
def test_value_that_does_not_fit_is_refused(override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        apply(RUN, [override])
    assert caught.value.code is Code.CONFIG_VALUE


def test_saved_configuration_comes_back() -> None:
    data = json.loads(json.dumps(to_json(RUN)))
    assert data["schema_version"] == SCHEMA_VERSION
    assert load_json(Run, data) == RUN
    assert "Stage" not in json.dumps(data), "class names do not belong into saved configurations"


@given(width=st.integers(), rate=st.floats(allow_nan=False, allow_infinity=False), name=st.text())
def test_every_configuration_comes_back(width: int, rate: float, name: str) -> None:
    run = replace(RUN, rate=rate, model=Model(width=width), stages=(Stage(name=name, steps=1),))
    if "${" in name or name == "???":
        with pytest.raises(ConfigError):
            load_json(Run, to_json(run))
    else:
        assert load_json(Run, json.loads(json.dumps(to_json(run)))) == run


def test_digest_names_the_content() -> None:
    assert digest(RUN) == hashlib.sha256(canonical_json(to_json(RUN))).hexdigest()
    assert digest(apply(RUN, ["stages.1.steps=3"])) != digest(RUN)
    assert digest(load_json(Run, to_json(RUN))) == digest(RUN)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ([], Code.CONFIG_VALUE),
        ({"model": {"width": 1}, "stages": []}, Code.CONFIG_KEY),
        ({"recipe": "x", "model": {"width": 1}, "stages": [], "extra": 1}, Code.CONFIG_KEY),
        ({"recipe": "x", "model": {"width": 1}, "stages": [], 3: 1}, Code.CONFIG_KEY),
        ({"recipe": "x", "model": {"width": 1, "deep": 2}, "stages": []}, Code.CONFIG_KEY),
        ({"recipe": "x", "model": [], "stages": []}, Code.CONFIG_VALUE),
        ({"recipe": "x", "model": {"width": 1}, "stages": {}}, Code.CONFIG_VALUE),
        ({"recipe": "x", "model": {"width": 1}, "stages": [3]}, Code.CONFIG_VALUE),
        ({"recipe": "x", "model": {"width": 1}, "stages": [{"name": "a", "steps": "many"}]}, Code.CONFIG_VALUE),
        ({"recipe": "x", "model": {"width": 1}, "stages": [{"name": "a"}]}, Code.CONFIG_KEY),
        ({"recipe": "x", "model": {"width": 1}, "stages": [], "schema_version": 2}, Code.CONFIG_VALUE),
        ({"recipe": "x", "model": {"width": 1}, "stages": [], "schema_version": True}, Code.CONFIG_VALUE),
        ({"recipe": "${oc.env:HOME}", "model": {"width": 1}, "stages": []}, Code.CONFIG_VALUE),
    ],
)
def test_foreign_data_is_refused(data: Any, code: Code) -> None:
    with pytest.raises(ConfigError) as caught:
        load_json(Run, data)
    assert caught.value.code is code


def test_importing_is_cheap() -> None:
    script = "import sys, volano.config; sys.exit(any(name in sys.modules for name in ('omegaconf', 'yaml')))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
