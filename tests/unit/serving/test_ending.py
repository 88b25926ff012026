"""The end of a gateway's process: episodes get their time, unless somebody wants the end twice."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from serving.ending import Ending

Drain = Callable[[float], Awaitable[None]]


async def never(_seconds: float) -> None:
    await asyncio.Event().wait()


async def broken(_seconds: float) -> None:
    raise RuntimeError("no robot can be counted")


def ended(drain: Drain, *, drain_s: float = 60.0, told: int = 1) -> list[str]:
    """What happened when the end was wanted so many times."""
    happened: list[str] = []

    async def noted(seconds: float) -> None:
        happened.append(f"drain {seconds:g}")
        await drain(seconds)
        happened.append("drained")

    async def run() -> None:
        ending = Ending(drain_s, lambda: happened.append("closed"))
        following = asyncio.ensure_future(ending.follow(noted))
        for _ in range(told):
            await asyncio.sleep(0.01)
            assert not ending.stop.is_set()
            ending.tell()
        await asyncio.wait_for(following, 30.0)
        assert ending.stop.is_set()

    asyncio.run(run())
    return happened


def test_episodes_get_their_time() -> None:
    async def soon(_seconds: float) -> None:
        await asyncio.sleep(0.01)

    assert ended(soon) == ["drain 60", "drained", "closed"]


def test_told_twice_it_ends_at_once() -> None:
    assert ended(never, told=2) == ["drain 60", "closed", "closed"]


def test_without_time_for_episodes_it_ends_at_once() -> None:
    assert ended(never, drain_s=0.0) == ["closed"]


def test_what_fails_meanwhile_is_told_and_keeps_nobody(caplog: pytest.LogCaptureFixture) -> None:
    assert ended(broken) == ["drain 60", "closed"]
    assert "no robot can be counted" in caplog.text
