"""The thread that looks for a stop by a file: where it cannot know, the robot stands still, and it looks on."""

import time
from contextlib import closing

from volano.inference.hold.keeper import LeaseKeeper


def comes(keeper: LeaseKeeper, problem: str) -> bool:
    """Whether the keeper comes to say so."""
    until = time.monotonic() + 10
    while not keeper.problem.startswith(problem) and time.monotonic() < until:
        time.sleep(0.01)
    return keeper.problem.startswith(problem)


def test_a_look_for_a_stop_that_fails_is_a_stop_until_one_succeeds() -> None:
    fails = False

    def offline() -> str:
        if fails:
            raise RuntimeError("what nobody expected")
        return ""

    with closing(LeaseKeeper("ws://127.0.0.1:9", "key", offline=offline)) as keeper:
        assert comes(keeper, "E-HOLD-002")
        fails = True
        assert comes(keeper, "E-HOLD-001 whether a file says stop is not known: RuntimeError('what nobody expected')")
        fails = False
        assert comes(keeper, "E-HOLD-002")
