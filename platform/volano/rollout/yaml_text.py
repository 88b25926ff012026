"""Strict reading of YAML from outside, and so of JSON: maps, lists, texts, numbers, true, false and null; nothing else.

No anchor, alias, tag or merge, so that a short text stays short; no key twice; `yes`, `0o7` or a date is refused where
it is no text in quotes, because its readers disagree about what it is.
"""

import math
import re
from collections.abc import Iterator, Sequence

from volano.errors import Code, RolloutError

_MOST_BYTES, _MOST_DEPTH = 1 << 20, 20
_TAG = "tag:yaml.org,2002:"
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?")


def read_documents(data: bytes) -> list[object]:
    """The documents in a text, as plain data; raises RolloutError(E-ROLLOUT-001)."""
    import yaml

    if len(data) > _MOST_BYTES:
        raise _refused("the text is longer than a megabyte")
    try:
        text = data.decode()
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MOST_DEPTH:
                raise _refused("it is nested too deep")
            if getattr(event, "anchor", None) is not None:
                raise _refused("anchors and aliases are not read")
        return [_plain(node) for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None]
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, RolloutError):
            raise
        said = " ".join(str(error).split()) or "nested too deep"
        raise _refused(said) from error


def write_documents(documents: Sequence[object]) -> str:
    """Plain data as YAML that `read_documents` reads back; a text that some readers take for a number is in quotes."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar(f"{_TAG}str", text, style="'" if _NUMBER.fullmatch(text) else None)

    Dumper.add_representer(str, quoted)
    return yaml.dump_all(documents, Dumper=Dumper, explicit_start=True, sort_keys=False, allow_unicode=False, width=120)


def _plain(node: object) -> object:
    import yaml

    match node:
        case yaml.MappingNode(tag=tag, value=pairs) if tag == f"{_TAG}map":
            return dict(_unique(pairs))
        case yaml.SequenceNode(tag=tag, value=items) if tag == f"{_TAG}seq":
            return [_plain(item) for item in items]
        case yaml.ScalarNode(tag=tag, value=value, style=style):
            return value if style and tag == f"{_TAG}str" else _scalar(tag.removeprefix(_TAG), value)
    raise _refused(f"{getattr(node, 'tag', node)} is not read")


def _unique(pairs: object) -> Iterator[tuple[str, object]]:
    seen = set()
    for key, value in pairs if isinstance(pairs, list) else ():
        name = _plain(key)
        if not isinstance(name, str) or name in seen:
            raise _refused(f"the key {name!r} is no text, or stands twice")
        seen.add(name)
        yield name, _plain(value)


def _scalar(kind: str, value: str) -> object:
    if kind == "str":
        return float(value) if _NUMBER.fullmatch(value) and "e" in value.lower() and len(value) < 30 else value
    if kind == "null":
        return None
    if kind == "bool" and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    if kind == "int" and _WHOLE.fullmatch(value):
        return int(value)
    if kind == "float" and _NUMBER.fullmatch(value) and math.isfinite(number := float(value)):
        return number
    raise _refused(f"{value!r} may be read in several ways: write a plain number, true, false, or a text in quotes")


def _refused(why: str) -> RolloutError:
    return RolloutError(Code.ROLLOUT_PLAN, f"not readable as YAML or JSON: {why}", "correct the file")
