"""Refusals are counted, and told once a second."""

import logging

import pytest

from serving.refusals import RefusalLog


def test_a_stranger_who_knocks_all_the_time_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    refusals = RefusalLog("calls", lambda: now)
    with caplog.at_level(logging.WARNING):
        for number in range(100):
            refusals.note(f"peer {number}", "unknown key")
        now = 1.0
        refusals.note("another", "no key")
    assert caplog.messages == [
        "refused 1 calls, the last of peer 0: unknown key",
        "refused 100 calls, the last of another: no key",
    ]
