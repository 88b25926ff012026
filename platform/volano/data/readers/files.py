"""Files inside a foreign dataset: nothing outside its folder is ever opened, and no link is followed.

A dataset names its files itself (path templates, indices), so a name is as hostile as any other byte.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from volano.data.readers.foreign import refuse, require
from volano.data.text import is_plain_text, strict_json
from volano.errors import Code
from volano.storage.files import open_plain

MAX_JSON_BYTES = 16 << 20
MAX_LINES_BYTES = 256 << 20
_HOLE = ("{", "}")


def inside(root: Path, relative: str) -> Path:
    """The plain file `relative` under `root`; raises DataError: E-DATA-082 for a name or a link that may lead out,
    E-DATA-008 when there is none."""
    parts = relative.split("/")
    named = relative and len(relative) <= 1000 and is_plain_text(relative) and "\\" not in relative
    require(bool(named) and not {"", ".", ".."} & set(parts), f"the file name {relative[:80]!r}", Code.DATA_OUTSIDE)
    path = root
    for part in parts:
        path = path / part
        require(not path.is_symlink(), f"{relative} is or passes a link", Code.DATA_OUTSIDE)
    require(path.is_file(), f"{relative} is not there", Code.DATA_MISSING_FILE)
    return path


def listed(root: Path, pattern: str) -> list[Path]:
    """Plain files under `root` by pattern, in the order of their names; raises DataError like `inside`."""
    return [inside(root, path.relative_to(root).as_posix()) for path in sorted(root.glob(pattern))]


def filled(template: str, values: Mapping[str, int | str]) -> str:
    """A path template with its holes filled: `{name}` or `{name:03d}` of known names, and nothing else that
    `str.format` would obey. Raises DataError(E-DATA-082)."""
    text = template
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", str(value))
        if isinstance(value, int):
            for width in range(1, 10):
                text = text.replace(f"{{{name}:0{width}d}}", f"{value:0{width}d}")
    require(not any(hole in text for hole in _HOLE), f"the path template {template[:80]!r}", Code.DATA_OUTSIDE)
    return text


def read_bytes(path: Path, most: int) -> bytes:
    """A small file; raises DataError(E-DATA-017) when it is larger than `most` bytes."""
    with open_plain(path) as stream:
        data = stream.read(most + 1)
    require(len(data) <= most, f"{path.name} has more than {most} bytes", Code.DATA_SIZE)
    return data


def read_json(path: Path) -> dict[str, object]:
    """A JSON object; raises DataError(E-DATA-080) for anything else."""
    try:
        data = strict_json(read_bytes(path, MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise refuse(f"{path.name} is not sound JSON: {error}"[:300]) from error
    if not isinstance(data, dict):
        raise refuse(f"{path.name} is not a JSON object")
    return data


def read_json_lines(path: Path) -> Iterator[dict[str, object]]:
    """The objects of a file of JSON lines; raises like `read_json`."""
    for number, line in enumerate(read_bytes(path, MAX_LINES_BYTES).splitlines()):
        try:
            data = strict_json(line) if line.strip() else {}
        except (ValueError, RecursionError) as error:
            raise refuse(f"{path.name} line {number + 1} is not sound JSON") from error
        if not isinstance(data, dict):
            raise refuse(f"{path.name} line {number + 1} is not a JSON object")
        if data:
            yield data
