"""Pickles as LeRobot's clients send them, read by a stack machine of our own: it imports nothing and calls nothing that
a pickle names, so that the worst a hostile one can do is to be refused.

A name in a pickle is looked up in one table of a dozen entries and stands for a builder below; there is no other way
to anything. Allowed are records of the named fields, NumPy's arrays and scalars of plain numbers, and Python's plain
values. Steps, lengths, depth and the bytes of all arrays together are bounded by what was sent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from volano.inference.protocols.arrays import beyond
from volano.inference.protocols.pickle_arrays import ARRAYS, Bare, Frame, Kind
from volano.inference.protocols.spellings import malformed

_MAX_STEPS = 1 << 14
_MAX_DEPTH = 8
_MAX_VALUES = 1 << 14
"""Of a whole message, each counted as often as it is reached."""
_MAX_TEXT_BYTES = 1 << 16
_MAX_NUMBER_BYTES = 8
_STOP, _STACK_GLOBAL, _PROTO, _FRAME = 0x2E, 0x93, 0x80, 0x95


@dataclass(kw_only=True, eq=False)
class Record:
    """What a pickle says of an object of a known class: its fields by name, and nothing that acts."""

    name: str
    """`module.class` as the client knows it."""
    fields: dict[str, Any] | None = field(default=None, repr=False)


def read_pickle(data: bytes, records: Mapping[str, frozenset[str]], max_bytes: int) -> Any:
    """The value that a pickle of protocol 4 or 5 holds: None, truth values, numbers, texts, lists, tuples and maps with
    texts for keys, read-only arrays and NumPy scalars, and `Record`s of the classes that `records` names with exactly
    these fields.

    Raises WireError: E-WIRE-004 when a limit is passed, E-WIRE-001 for anything else.
    """
    if len(data) > max_bytes:
        raise beyond(f"the pickle has {len(data)} bytes, more than {max_bytes}")
    machine = _Machine(data, records)
    try:
        value = machine.run()
    except (IndexError, UnicodeDecodeError) as error:
        raise malformed(f"the pickle is torn: {type(error).__name__}") from error
    return _Plain().value(value, 1)


class _Machine:
    """Reads opcodes one after the other; everything it holds came from the bytes."""

    def __init__(self, data: bytes, records: Mapping[str, frozenset[str]]) -> None:
        self._frame = Frame(data)
        self._records = records
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        """The stacks below each open mark."""
        self._memo: list[Any] = []

    def run(self) -> Any:
        """The one value that is left at the end."""
        for _ in range(_MAX_STEPS):
            opcode = self._frame.number(1)
            if opcode == _STOP:
                return self._end()
            step = _STEPS.get(opcode)
            if step is None:
                raise malformed(f"the pickle does 0x{opcode:02x}, which no client of ours needs")
            step(self)
        raise beyond(f"the pickle has more than {_MAX_STEPS} steps")

    def _end(self) -> Any:
        if self._marked or len(self._stack) != 1 or self._frame.left:
            raise malformed("the pickle does not end with its one value")
        return self._stack.pop()

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def skip(self, count: int) -> None:
        """Over what only tells a reader how to read faster."""
        self._frame.take(count)

    def whole(self, size: int, signed: bool = False) -> None:
        self._stack.append(self._frame.number(size, signed=signed))

    def long(self) -> None:
        size = self._frame.number(1)
        if size > _MAX_NUMBER_BYTES:
            raise beyond(f"a number has {size} bytes, more than {_MAX_NUMBER_BYTES}")
        self._stack.append(self._frame.number(size, signed=True))

    def real(self) -> None:
        self._stack.append(self._frame.real())

    def text(self, size_bytes: int) -> None:
        size = self._frame.number(size_bytes)
        if size > _MAX_TEXT_BYTES:
            raise beyond(f"a text has {size} bytes, more than {_MAX_TEXT_BYTES}")
        self._stack.append(self._frame.take(size).decode())

    def blob(self, size_bytes: int) -> None:
        self._stack.append(self._frame.take(self._frame.number(size_bytes)))

    def mark(self) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._marked.pop()
        return items

    def tuple_of(self, count: int | None) -> None:
        items = self._since_mark() if count is None else [self._stack.pop() for _ in range(count)][::-1]
        self._stack.append(tuple(items))

    def append(self, many: bool) -> None:
        items = self._since_mark() if many else [self._stack.pop()]
        target = self._stack[-1]
        if type(target) is not list:
            raise malformed("the pickle appends to what is no list")
        target += items

    def put(self, many: bool) -> None:
        items = self._since_mark() if many else [self._stack.pop() for _ in range(2)][::-1]
        target = self._stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise malformed("the pickle puts items into what is no map")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not str or key in target:
                raise malformed("a map has a key that is no text, or one key twice")
            target[key] = value

    def remember(self) -> None:
        self._memo.append(self._stack[-1])

    def recall(self, size_bytes: int) -> None:
        self._stack.append(self._memo[self._frame.number(size_bytes)])

    def name(self) -> None:
        attribute, module = self._stack.pop(), self._stack.pop()
        if type(module) is not str or type(attribute) is not str:
            raise malformed("the pickle names something by what is no text")
        found = f"{module}.{attribute}"
        if (module, attribute) not in ARRAYS and found not in self._records:
            raise malformed(f"the pickle names {found[:80]!r}, which may not come from outside")
        self._stack.append(_Name(found, ARRAYS.get((module, attribute))))

    def make(self) -> None:
        arguments, name = self._stack.pop(), self._stack.pop()
        if type(name) is not _Name or name.text not in self._records or arguments != ():
            raise malformed("the pickle makes an object of what is no known class")
        self._stack.append(Record(name=name.text))

    def call(self) -> None:
        arguments, name = self._stack.pop(), self._stack.pop()
        if type(name) is not _Name or name.build is None or type(arguments) is not tuple:
            raise malformed("the pickle calls what may not be called")
        self._stack.append(name.build(self._frame, arguments))

    def build(self) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, Kind | Bare):
            target.complete(self._frame, state)
        elif type(target) is Record and target.fields is None and type(state) is dict:
            if state.keys() != self._records[target.name]:
                raise malformed(f"the pickle's {target.name} has other fields than the client's")
            target.fields = state
        else:
            raise malformed("the pickle sets the state of what has none")


@dataclass(frozen=True, eq=False)
class _Name:
    """A name that a pickle may say."""

    text: str
    build: Callable[[Frame, tuple[Any, ...]], Any] | None
    """What calling it stands for; None may not be called."""


_STEPS: dict[int, Callable[[_Machine], None]] = {
    _PROTO: lambda machine: machine.skip(1),
    _FRAME: lambda machine: machine.skip(8),
    ord("N"): lambda machine: machine.push(None),
    0x88: lambda machine: machine.push(True),
    0x89: lambda machine: machine.push(False),
    ord("K"): lambda machine: machine.whole(1),
    ord("M"): lambda machine: machine.whole(2),
    ord("J"): lambda machine: machine.whole(4, signed=True),
    0x8A: _Machine.long,
    ord("G"): _Machine.real,
    0x8C: lambda machine: machine.text(1),
    ord("X"): lambda machine: machine.text(4),
    ord("C"): lambda machine: machine.blob(1),
    ord("B"): lambda machine: machine.blob(4),
    0x8E: lambda machine: machine.blob(8),
    0x96: lambda machine: machine.blob(8),
    ord("("): _Machine.mark,
    ord(")"): lambda machine: machine.push(()),
    ord("t"): lambda machine: machine.tuple_of(None),
    0x85: lambda machine: machine.tuple_of(1),
    0x86: lambda machine: machine.tuple_of(2),
    0x87: lambda machine: machine.tuple_of(3),
    ord("]"): lambda machine: machine.push([]),
    ord("a"): lambda machine: machine.append(many=False),
    ord("e"): lambda machine: machine.append(many=True),
    ord("}"): lambda machine: machine.push({}),
    ord("s"): lambda machine: machine.put(many=False),
    ord("u"): lambda machine: machine.put(many=True),
    0x94: _Machine.remember,
    ord("h"): lambda machine: machine.recall(1),
    ord("j"): lambda machine: machine.recall(4),
    _STACK_GLOBAL: _Machine.name,
    0x81: _Machine.make,
    ord("R"): _Machine.call,
    ord("b"): _Machine.build,
}
"""What a pickler of protocol 4 or 5 writes of plain values, arrays and dataclasses. Not here: names in texts, classes
by number, persistent names, buffers beside the pickle, keyword arguments, sets, and all of the protocols before."""


class _Plain:
    """Turns what the machine left into values, counting each way to each of them: what a memo repeats costs again."""

    def __init__(self) -> None:
        self._left = _MAX_VALUES

    def value(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if depth > _MAX_DEPTH or self._left < 0:
            raise beyond(f"the pickle holds more than {_MAX_VALUES} values, or one deeper than {_MAX_DEPTH}")
        if value is None or type(value) in (bool, int, float, str):
            return value
        if type(value) in (list, tuple):
            return type(value)(self.value(item, depth + 1) for item in value)
        if type(value) is dict:
            return {key: self.value(item, depth + 1) for key, item in value.items()}
        if type(value) is Bare:
            return value.whole()
        if type(value) is Record and value.fields is not None:
            return Record(name=value.name, fields=self.value(value.fields, depth + 1))
        raise malformed(f"the pickle holds a bare {type(value).__name__}")
