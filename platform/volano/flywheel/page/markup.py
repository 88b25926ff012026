"""Elements of a page: built as a tree and written by the standard library's serialiser, never as strings.

So text from outside (robot names, tasks, reasons) cannot become markup, wherever it stands. Characters that are
invisible or reorder what is read are shown as their code.
"""

from collections.abc import Iterable
from urllib.parse import quote
from xml.etree.ElementTree import Element, tostring

Child = Element | str


def element(name: str, /, *children: Child, **attributes: object) -> Element:
    """An element; of an attribute's name a last `_` is dropped (`class_`) and any other becomes `-`."""
    made = Element(name, {_attribute(key): visible(str(value)) for key, value in attributes.items()})
    for child in children:
        if isinstance(child, Element):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + visible(child)
        else:
            made.text = (made.text or "") + visible(child)
    return made


def write(root: Element) -> bytes:
    """A whole document in UTF-8."""
    return b"<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html").encode() + b"\n"


def visible(text: str) -> str:
    """Text in which every character can be seen: controls, surrogates and direction marks become `\\u202e` and such."""
    return "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in text)


def table(heads: Iterable[Child], rows: Iterable[Iterable[Child]], *, numbers: Iterable[int] = ()) -> Element:
    """A table that scrolls sideways on a narrow screen; `numbers` are the columns set to the right."""
    right = set(numbers)

    def cell(kind: str, position: int, child: Child) -> Element:
        return element(kind, child, class_="number") if position in right else element(kind, child)

    head = element("tr", *(cell("th", position, child) for position, child in enumerate(heads)))
    body = [element("tr", *(cell("td", position, child) for position, child in enumerate(row))) for row in rows]
    return element("div", element("table", element("thead", head), element("tbody", *body)), class_="wide")


def details(summary: str, *children: Child) -> Element:
    """Something folded away until it is asked for."""
    return element("details", element("summary", summary), *children)


def code(text: str) -> Element:
    """A name, digest or command."""
    return element("code", text)


def short(digest: str) -> Element:
    """The start of a digest; the whole of it is its title."""
    return element("code", digest[:12] or "none", title=digest or "none")


def beside(path: str) -> str:
    """A link to a file in or below the page's folder; empty when the path leads anywhere else."""
    parts = path.split("/")
    inside = all(part not in {"", ".", ".."} for part in parts) and "\\" not in path
    return "./" + quote(path, errors="replace") if inside else ""


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")
