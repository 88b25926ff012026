"""System calls that fail, and a process that is killed, at the k-th of them. Also a writer to run and kill.

python -m tests.unit.storage.faults kill STORE KEY K before|after   puts one object, dies around system call K
python -m tests.unit.storage.faults write STORE                     puts objects until it is killed
python -m tests.unit.storage.faults race STORE NAME                 puts ten of `race/0..` a line read, prints its wins
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from volano.storage.folder import FolderStore

CALLS = ("open", "write", "fsync", "link", "mkdir", "unlink", "close")
DATA = bytes(range(256)) * 5000
"""More than one chunk."""
RACES, ROUND = 200, 10


class Sweep:
    """Counts system calls that write; `act` runs before the k-th (`after` False) or behind it."""

    def __init__(self, position: int, act: Callable[[], None], *, after: bool = False) -> None:
        self.position, self.act, self.after = position, act, after
        self.seen = 0
        self.fired = False
        self.names: list[str] = []

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.seen += 1
            self.names.append(name)
            here = self.seen == self.position
            if here and not self.after:
                self._fire()
            result = call(*arguments, **options)
            if here and self.after:
                self._fire()
            return result

        return counted

    def _fire(self) -> None:
        self.fired = True
        self.act()


@contextmanager
def swept(sweep: Sweep) -> Iterator[Sweep]:
    """The calls of this process go through the sweep."""
    originals = {name: getattr(os, name) for name in CALLS}
    for name, call in originals.items():
        setattr(os, name, sweep.wrap(name, call))
    try:
        yield sweep
    finally:
        for name, call in originals.items():
            setattr(os, name, call)


def fail(number: int) -> Callable[[], None]:
    """Raise the operating system's error of this number."""

    def act() -> None:
        raise OSError(number, os.strerror(number))

    return act


def die() -> None:
    """What the out-of-memory killer does."""
    os.kill(os.getpid(), signal.SIGKILL)


def _kill(root: str, key: str, position: str, when: str) -> None:
    store = FolderStore(Path(root))
    with swept(Sweep(int(position), die, after=when == "after")):
        store.put_new(key, DATA)
    sys.stdout.write("survived\n")


def _write(root: str) -> None:
    store = FolderStore(Path(root))
    for number in range(1_000_000):
        if store.put_new(f"many/{number % 7}/{number}", str(number).encode() * 3000):
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


def _race(root: str, name: str) -> None:
    store = FolderStore(Path(root))
    for first in range(0, RACES, ROUND):
        sys.stdin.readline()
        numbers = range(first, first + ROUND)
        won = [number for number in numbers if store.put_new(f"race/{number}", f"{name} {number}".encode())]
        sys.stdout.write(" ".join(map(str, won)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    commands: dict[str, Callable[..., None]] = {"kill": _kill, "write": _write, "race": _race}
    commands[sys.argv[1]](*sys.argv[2:])
