"""The rules of the house that no linter knows. Each exception stands here with its reason."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "platform" / "volano"
SOURCES = sorted(
    path
    for top in (LIBRARY, *(ROOT / name for name in ("jobs", "pipelines", "serving", "examples")))
    for path in top.rglob("*.py")
)
LIGHT = (
    "volano.ledger.ledger",
    "volano.rollout.machine",
    "volano.data.episode",
    "volano.registry.release",
    "volano.cli",
)
"""What a robot, an operator's machine or the decision about a rollout imports."""
HEAVY = {"torch", "ray", "transformers", "deepspeed", "mlflow"}
UNSAFE_MODULES = {"pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
UNSAFE_CALLS = {"eval", "exec", "compile", "torch.load", "yaml.load", "yaml.unsafe_load", "os.system", "os.popen"}
UNSAFE_ARGUMENTS = {"shell", "allow_pickle", "trust_remote_code"}
EXCUSED = {
    "platform/volano/train/engine.py: torch.load": "a run reads back the checkpoint it wrote itself, tensors only",
    "platform/volano/train/elastic.py: torch.load": "the same, and three types of DeepSpeed that hold numbers",
}
"""`file: what is used` to the reason why it is safe there."""
VAGUE_NAMES = {"utils", "util", "common", "helpers", "misc", "tools", "manager"}
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 80


def _name(node: ast.AST) -> str:
    """The dotted name of a called thing."""
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def unsafe(source: str) -> Iterator[str]:
    """What in a source may run bytes from outside."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in UNSAFE_MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNSAFE_MODULES:
            yield node.module or ""
        elif isinstance(node, ast.Call):
            if _name(node.func) in UNSAFE_CALLS:
                yield _name(node.func)
            for keyword in node.keywords:
                off = isinstance(keyword.value, ast.Constant) and not keyword.value.value
                if keyword.arg in UNSAFE_ARGUMENTS and not off:
                    yield f"{keyword.arg}="


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", ["pickle"]),
        ("from cloudpickle import loads", ["cloudpickle"]),
        ("import torch\ntorch.load(path)", ["torch.load"]),
        ("eval('1')", ["eval"]),
        ("numpy.load(path, allow_pickle=True)", ["allow_pickle="]),
        ("subprocess.run(text, shell=flag)", ["shell="]),
        ("model.eval()\nre.compile('x')\nnumpy.load(path, allow_pickle=False)\nsubprocess.run(['x'], shell=False)", []),
    ],
)
def test_the_search_for_unsafe_calls_finds_them(source: str, found: list[str]) -> None:
    assert list(unsafe(source)) == found


def test_no_source_can_run_bytes_from_outside() -> None:
    found = {f"{path.relative_to(ROOT)}: {what}" for path in SOURCES for what in unsafe(path.read_text())}
    assert found == set(EXCUSED)


def test_the_source_root_holds_the_package_and_nothing_else() -> None:
    """An `__init__.py` here would hide Python's own module `platform` from everything that is installed."""
    assert {path.name for path in (ROOT / "platform").iterdir()} - {"__pycache__"} == {"volano"}
    code = "import platform; platform.python_version()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize("module", LIGHT)
def test_what_robots_and_operators_import_is_light(module: str) -> None:
    code = f"import sys, {module}; heavy = {HEAVY!r} & set(sys.modules); sys.exit(', '.join(heavy) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_names_say_what_is_inside() -> None:
    assert [path for path in SOURCES if path.stem in VAGUE_NAMES or path.parent.name in VAGUE_NAMES] == []


def test_every_module_opens_with_what_it_is() -> None:
    assert [p for p in SOURCES if p.read_text().strip() and ast.get_docstring(ast.parse(p.read_text())) is None] == []


def test_files_and_functions_stay_readable() -> None:
    too_long = []
    for path in SOURCES:
        text = path.read_text()
        if text.count("\n") > MAX_FILE_LINES:
            too_long.append(str(path.relative_to(ROOT)))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    too_long.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert too_long == []
