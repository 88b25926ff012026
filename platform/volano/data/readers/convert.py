"""Converting a foreign source into bundles: the child reads and writes, this side decides, counts and passes on.

Foreign bytes are decoded in child processes with limits (`volano.data.readers.convert_child`). When one dies, the
episode it was at is refused (E-DATA-012) and a new child goes on behind it. What is there already is left alone, so
running again continues; nothing of the source is ever written to.
"""

import json
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Literal, TypeAlias

from volano.data.finding import Finding
from volano.data.readers.child import Child, Request
from volano.errors import Code, DataError, StorageError, SystemMissingError, VolanoError

_ATTEMPT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
Status = Literal["planned", "converted", "already", "refused"]


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What became, or would become, of one episode."""

    attempt: str
    source: str
    status: Status
    plan: dict[str, Any]
    """`frames`, `instruction`, `notes`, and `cameras`: name to `treatment`, `reason` and `size`, as in
    `plan.EpisodePlan`; empty when refused or already there."""
    code: str = ""
    cause: str = ""
    fix: str = ""


class Conversion:
    """One pass over a source. Iterate over it; `format` is known from the first episode on."""

    def __init__(self, request: Request, is_there: Callable[[str], bool]) -> None:
        """`is_there` says of an attempt whether it was converted before. Raises DataError(E-DATA-081) when the mapping
        does not fit the embodiment, E-DATA-015 for a robot's name that is none."""
        request.mapping.require_fits(request.embodiment)
        if not _ATTEMPT.fullmatch(request.robot):
            raise DataError(
                Code.DATA_ROBOT, f"robot {request.robot!r:.80} is not a plain name", "use letters, digits, - _ ."
            )
        self._request = request
        self._is_there = is_there
        self.format = ""

    def __iter__(self) -> Iterator[Converted]:
        """Every episode in the source's order, each written when it is yielded. Raises DataError when the source as a
        whole cannot be read, SystemMissingError(E-SYSTEM-001) when the format's packages are missing, StorageError
        when the disk is full: what was converted by then stays."""
        with ExitStack() as ended:
            head = ended.enter_context(Child(self._request))
            listing = _listing(head)
            self.format = listing.format
            count = max(1, min(self._request.workers, listing.episodes))
            others = [ended.enter_context(Child(self._request)) for _ in range(1, count)]
            children = enumerate([head, *others])
            strands = [_Strand(self._strand(number, count, listing, child)) for number, child in children]
            for strand in strands:
                ended.callback(strand.end)
                strand.go_on()
            for strand in cycle(strands):
                one = strand.result()
                if one is None:
                    return
                strand.go_on()  # the child works while this one is passed on
                yield one

    def _strand(self, place: int, step: int, listing: "_Listing", child: Child) -> "_Steps":
        """The work of a child, or of several after each other: every so many-th episode from this place on."""
        while True:
            before = place
            with child:
                if _listing(child) != listing:
                    raise DataError(Code.DATA_FOREIGN, "the source changed while it was read", "let nobody write to it")
                child.say(json.dumps({"first": place, "step": step}))
                while place < listing.episodes and (named := child.line()) is not None:
                    yield from self._episode(child, named)
                    place += step
            if place >= listing.episodes:
                return
            if place == before:
                raise DataError(
                    Code.DATA_DECODER, "the reading child died twice at one place", "leave the damaged file out"
                )
            child = Child(self._request)

    def _episode(self, child: Child, named: dict[str, Any]) -> "_Steps":
        attempt = f"{self._request.mapping.dataset}-{named.get('name')}"
        if not _ATTEMPT.fullmatch(attempt):
            raise DataError(Code.DATA_FOREIGN, f"{attempt!r:.150} would be no plain name", "rename it in the source")
        source = _plain(named.get("source"))
        if self._is_there(attempt):
            child.say("skip")
            yield None
            yield Converted(attempt=attempt, source=source, status="already", plan={})
            return
        child.say("go")
        yield None
        told = child.line()
        if told is None:
            told = {
                "code": Code.DATA_DECODER,
                "cause": f"the reading child died of it ({child.status()})",
                "fix": "check the episode's files, or leave it out",
            }
        if "code" in told:
            error = _error(told)
            if error.code is Code.STORE_FULL:
                raise error
            refused = {"code": error.code, "cause": error.cause, "fix": error.fix}
            yield Converted(attempt=attempt, source=source, status="refused", plan={}, **refused)
            return
        status: Status = "converted" if self._request.output else "planned"
        yield Converted(attempt=attempt, source=source, status=status, plan=_plan(told))


_Steps: TypeAlias = Generator[Converted | None, None, None]
"""For each episode None, when its child is at work, and then what became of it."""


class _Strand:
    """A child's work, which goes on while nobody asks for it; an error waits for its turn."""

    def __init__(self, steps: _Steps) -> None:
        self._steps = steps
        self._error: VolanoError | None = None
        self._ended = False

    def go_on(self) -> None:
        """Let the child begin its next episode."""
        try:
            self._ended = next(self._steps, ...) is ...
        except VolanoError as error:
            self._error = error

    def result(self) -> Converted | None:
        """What became of the episode that it began last; None when there was no other."""
        if self._error is not None:
            raise self._error
        return None if self._ended else next(self._steps)

    def end(self) -> None:
        """End the child, whatever it is at."""
        self._steps.close()


@dataclass(frozen=True, kw_only=True)
class _Listing:
    """What a child found in the source."""

    format: str
    episodes: int
    names: str
    """SHA-256 over their names and sources, in order."""


def _listing(child: Child) -> _Listing:
    opening = child.opening()
    if opening is None:
        raise DataError(
            Code.DATA_DECODER, f"the reading child died of the source ({child.status()})", "check its files"
        )
    if "code" in opening:
        raise _error(opening)
    return _Listing(
        format=_plain(opening.get("format")),
        episodes=_count(opening.get("episodes")),
        names=_plain(opening.get("names")),
    )


def _plain(value: object) -> str:
    """What a child said, short and printable."""
    return Finding.of(Code.DATA_FOREIGN, str(value)).evidence


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _plan(told: dict[str, Any]) -> dict[str, Any]:
    """The plan that a child told of; raises DataError(E-DATA-012) when it is none."""
    try:
        return {
            "frames": _count(told["frames"]),
            "instruction": _plain(told["instruction"]),
            "notes": [_plain(note) for note in told["notes"]],
            "cameras": {
                _plain(name): {
                    "treatment": _plain(camera["treatment"]),
                    "reason": _plain(camera["reason"]),
                    "size": _count(camera["size"]),
                }
                for name, camera in told["cameras"].items()
            },
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(Code.DATA_DECODER, "the reading child talks nonsense", "leave the source out") from error


_KINDS: dict[Code, type[VolanoError]] = {Code.SYSTEM_LIBRARY: SystemMissingError, Code.STORE_FULL: StorageError}


def _error(told: dict[str, Any]) -> VolanoError:
    """The error that a child told of, whatever it said."""
    code = next((code for code in Code if code == told["code"]), Code.DATA_DECODER)
    return _KINDS.get(code, DataError)(code, _plain(told.get("cause")), _plain(told.get("fix")))
