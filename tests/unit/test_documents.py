"""The documents tell the truth about commands: each exists; each link leads somewhere; no machine has a path there.

A line that says `not yet` may name what does not exist, and must stop saying so as soon as it does.
"""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from volano.cli import app
from volano.errors import Code

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SHELLS = {"", "sh", "bash", "console"}
NOT_YET = "not yet"
_COMMAND = re.compile(r"(?:^|\s|/)(volano|make|python3? -m) (?P<rest>.+)")
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
_MACHINE = re.compile(r"(?<![\w.>*}])/(?:home|root|Users|work|tmp|mnt|opt|var|srv|usr)/|\b[A-Z]:\\")


def commands(text: str) -> Iterator[tuple[str, str]]:
    """(line, command) of every code block of a shell and of every code span that begins as a command does."""
    fenced: str | None = None
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = line.strip("` ") if fenced is None else None
            continue
        found = [line] if fenced in SHELLS else _SPAN.findall(line) if fenced is None else []
        for piece in found:
            bare = piece.split("#")[0].strip().removeprefix("$ ").removesuffix("\\")
            if fenced is not None or re.match(r"(\S*/)?(volano|make|python3?) ", bare):
                yield line, bare


def why_not(command: str) -> str:
    """Why a command does not exist; empty when it does, or when it is none of ours."""
    match = _COMMAND.search(command)
    if match is None:
        return ""
    words = shlex.split(match["rest"])
    return {"volano": _no_verb, "make": _no_target}.get(match[1], _no_module)(words)


def _no_verb(words: list[str]) -> str:
    here = typer.main.get_command(app)
    options = {"--help"}
    for number, word in enumerate(words):
        if here.context_settings.get("ignore_unknown_options"):  # its help names the application that reads the rest
            named = re.search(r"python -m\s+([\w.]+)", here.help or "")
            return _no_module([named[1] if named else "", *words[number:]])
        options |= {name for parameter in here.params for name in parameter.opts}
        verbs = getattr(here, "commands", {})
        if word.startswith("-") and word.split("=")[0] not in options:
            return f"there is no option {word}"
        if verbs and word.islower() and word.isidentifier():
            if word not in verbs:
                return f"there is no verb {word!r}"
            here = verbs[word]
    return ""


def _no_target(words: list[str]) -> str:
    text = (ROOT / "Makefile").read_text()
    missing = [word for word in words if "=" not in word and not re.search(rf"(?m)^{re.escape(word)}:", text)]
    return f"the Makefile has no target {missing[0]!r}" if missing else ""


def _no_module(words: list[str]) -> str:
    name = words[0] if words else ""
    if not name or not name.replace("_", "").replace(".", "").islower():
        return ""
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        found = None
    if found is None or found.origin is None:
        return f"there is no module {name!r}"
    source = Path(found.origin)
    if not source.is_relative_to(ROOT) or ".venv" in source.parts:
        return ""
    if source.name == "__init__.py":
        source = source.with_name("__main__.py")
    if not source.is_file() or (source.name != "__main__.py" and '__name__ == "__main__"' not in source.read_text()):
        return f"the module {name!r} cannot be run"
    text = source.read_text() + "".join(path.read_text() for path in source.parent.glob("*.py"))
    missing = [word for word in words if word.startswith("--") and word.removeprefix("--") not in text]
    return f"{name} has no option {missing[0]}" if missing else ""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_exists_or_says_not_yet(document: Path) -> None:
    problems = []
    for line, command in commands(document.read_text()):
        why = why_not(command)
        if why and NOT_YET not in line:
            problems.append(f"{command}: {why}; correct it, or say `{NOT_YET}` in its line")
        if not why and NOT_YET in line and f"`{NOT_YET}`" not in line:
            problems.append(f"{command}: it exists; take `{NOT_YET}` out of its line")
    assert problems == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere_and_no_path_of_a_machine_is_named(document: Path) -> None:
    text = document.read_text()
    links = [link for link in _LINK.findall(text) if "://" not in link]
    assert [link for link in links if not (document.parent / link).exists()] == []
    assert [line for line in text.splitlines() if _MACHINE.search(line)] == []


def test_the_documents_that_people_look_for_are_there_and_name_commands() -> None:
    names = {str(path.relative_to(ROOT)) for path in DOCUMENTS}
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "docs/ARCHITECTURE.md"} <= names
    found = {command.split()[0] for _, command in commands((ROOT / "README.md").read_text())}
    assert {"volano", "make", "python", ".venv/bin/volano"} <= found


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("volano robot ls", ""),
        ("volano data counts --store STORE", ""),
        (".venv/bin/volano doctor", ""),
        ("volano robot contract scout --json", ""),
        ("volano policy verify FOLDER --root ROOT", ""),
        ("volano fly away", "there is no verb 'fly'"),
        ("volano robot fly", "there is no verb 'fly'"),
        ("volano robot ls --loud", "there is no option --loud"),
        ("make check test", ""),
        ("make PYTHON=python3.12 check", ""),
        ("cd here && make coffee", "the Makefile has no target 'coffee'"),
        ("python -m jobs.train nano --store STORE", ""),
        ("PYTHONPATH=platform:. python -m jobs.trian", "there is no module 'jobs.trian'"),
        ("python -m volano.errors", "the module 'volano.errors' cannot be run"),
        ("python -m pipelines.ingest --loud", "pipelines.ingest has no option --loud"),
        ("python -m pytest tests/unit", ""),
        ("python -m benchmarks.NAME", ""),
        ("git status", ""),
    ],
)
def test_the_check_itself(command: str, why: str) -> None:
    assert why_not(command) == why


def test_machine_paths_are_seen() -> None:
    assert all(_MACHINE.search(text) for text in ("see /home/me/x", "`/tmp/x`", "C:\\x"))
    assert not any(_MACHINE.search(text) for text in ("docs/tmp/x", "http://host/x", "s3://bucket/work/x", "./var/x"))


def test_commands_are_found_in_blocks_and_spans() -> None:
    text = "run `make check` or `volano.cluster`\n```\n$ volano doctor  # fine\n```\n```mermaid\nmake tea\n```\n"
    assert [command for _, command in commands(text)] == ["make check", "volano doctor"]


def test_every_code_is_explained_where_people_look_it_up() -> None:
    text = (ROOT / "docs" / "operating.md").read_text()
    assert [code for code in Code if f"| `{code}` | " not in text] == []


def test_every_defect_of_an_upload_says_how_it_is_recognised_and_what_to_do() -> None:
    text = (ROOT / "docs" / "data.md").read_text()
    no_uploads = {Code.DATA_VERSION, Code.DATA_CONSERVATION}
    rows = {line.split("`")[1]: line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `E-")}
    gate = {code for code in Code if code.startswith("E-DATA-") and code < "E-DATA-060"}  # commands say the others
    assert set(rows) == gate - no_uploads
    assert [code for code, cells in rows.items() if len(cells) != 4 or not all(cells)] == []
