"""Worlds that hold an OpenGL context, lent to one simulator at a time and never freed.

Freeing one context while another lives turns the other's frames into noise, without an error; so a world returned
by a closed simulator waits for the next one. Contexts belong to the thread that made them: one thread per process.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

World = TypeVar("World")


class Pool(Generic[World]):
    """Every world ever built, and which of them are free."""

    def __init__(self) -> None:
        self._built: list[World] = []
        """Keeps every world alive, also one whose simulator was dropped without `close`."""
        self._free: dict[Hashable, list[World]] = {}

    def borrow(self, key: Hashable, build: Callable[[], World]) -> World:
        """A world of that kind which nobody else uses; built when none is free."""
        free = self._free.setdefault(key, [])
        if free:
            return free.pop()
        world = build()
        self._built.append(world)
        return world

    def give_back(self, key: Hashable, world: World) -> None:
        """The borrower uses it no more."""
        self._free.setdefault(key, []).append(world)
