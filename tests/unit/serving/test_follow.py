"""The loop of a gateway's process: told to stop it stops, however long a look takes, and a look that fails is told."""

import asyncio
import threading

import pytest

from serving import __main__ as process


def test_a_look_that_hangs_does_not_keep_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_LEAVE_S", 0.05)
    begun, never = threading.Event(), threading.Event()

    def look() -> None:
        begun.set()
        never.wait(60.0)

    async def told_to_stop() -> None:
        stop = asyncio.Event()
        following = asyncio.ensure_future(process.follow(look, stop))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        stop.set()
        await asyncio.wait_for(following, 30.0)

    asyncio.run(told_to_stop())
    assert not never.is_set()


def test_a_look_that_fails_is_told_and_looked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "_LOOK_S", 0.0)
    looks: list[int] = []

    async def twice() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()

        def look() -> None:
            looks.append(1)
            if len(looks) == 2:
                loop.call_soon_threadsafe(stop.set)
                return
            raise RuntimeError("the ledger is away")

        await process.follow(look, stop)

    asyncio.run(twice())
    assert len(looks) == 2
    assert "the ledger is away" in caplog.text
