"""Rollouts from what the fleet did: decided by evidence, killed at any write, proved again from the audit log."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from serving.directory import choose
from tests.unit.data.memory_store import MemoryStore
from tests.unit.flywheel.season import (
    CANDIDATE,
    CURRENT,
    GLIDERS,
    PLAN,
    SCOUTS,
    accept,
    day,
    equip,
    manifest_of,
    no_problem,
    prepare,
    release,
)
from volano.data.catalogue_rows import EPISODES
from volano.errors import LedgerError, RolloutError
from volano.flywheel import reconcile
from volano.flywheel.reconcile import Look
from volano.ledger.ledger import Ledger, open_ledger
from volano.rollout.outcome import Outcome

BETTER, WORSE = {CURRENT: 0.3, CANDIDATE: 0.95}, {CURRENT: 0.9, CANDIDATE: 0.2}
"""Success rates of both policies."""
DAYS = 30


@contextmanager
def ledger_in(folder: Path) -> Iterator[Ledger]:
    folder.mkdir(exist_ok=True)
    with open_ledger(f"sqlite:///{folder / 'ledger.db'}") as ledger:
        yield ledger


def look(ledger: Ledger, store: MemoryStore, lines: list[dict[str, object]], now: float) -> Look:
    return reconcile.look(ledger, store, PLAN.id, lines, missing_after_s=0.0, now=now)


def run(ledger: Ledger, rates: dict[str, float]) -> Look:
    """Days and looks by turns until the rollout ends."""
    store, lines, random = MemoryStore(), [], Random(7)
    for number in range(DAYS):
        lines += day(ledger, store, number, rates, random)
        found = look(ledger, store, lines, 100.0 * number + 199.0)
        if found.ended:
            break
    return found


def test_a_better_candidate_is_promoted_and_put_in_place(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        prepare(ledger)
        found = run(ledger, BETTER)
        assert found.state.kind == "promoted"
        assert ledger.current_policies() == {SCOUTS: CANDIDATE, GLIDERS: CANDIDATE}
        assert [verdict.kind for verdict in found.verdicts if verdict.kind != "hold"] == [
            "advance",
            "advance",
            "promote",
        ]
        assert reconcile.status(ledger, PLAN.id) == found


def test_a_look_at_a_rollout_that_was_promoted_moves_no_policy_that_was_put_in_place_later(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        prepare(ledger)
        promoted = run(ledger, BETTER)
        assert promoted.state.kind == "promoted"
        ledger.set_current(SCOUTS, CURRENT, "ada", 1e6)
        before = list(ledger.audit())
        assert look(ledger, MemoryStore(), [], 1e6 + 1) == promoted
        assert ledger.current_policies() == {SCOUTS: CURRENT, GLIDERS: CANDIDATE}
        assert list(ledger.audit()) == before


def test_a_worse_candidate_is_rolled_back_and_replaces_nothing(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        prepare(ledger)
        found = run(ledger, WORSE)
        assert found.state.kind == "rolled_back"
        assert ledger.current_policies() == {SCOUTS: CURRENT, GLIDERS: CURRENT}
        assert not ledger.active_rollout()


def test_every_verdict_can_be_made_again(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        prepare(ledger)
        found = run(ledger, BETTER)
        pairs = reconcile.replay(ledger, PLAN.id)
        assert [written for written, _ in pairs] == list(found.verdicts)
        assert all(written == made for written, made in pairs)


def test_looking_again_without_news_changes_no_evidence(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        prepare(ledger)
        store, random = MemoryStore(), Random(1)
        lines = day(ledger, store, 0, BETTER, random)
        first = look(ledger, store, lines, 200.0)
        again = look(ledger, store, [*lines, *lines], 201.0)
        assert again.evidence == first.evidence
        assert len(again.verdicts) == len(first.verdicts) + 1
        slices = [piece for piece, _ in reconcile.history(ledger, PLAN.id)]
        assert slices[0].shadows
        assert not slices[1].outcomes
        assert not slices[1].shadows


@pytest.mark.parametrize("pinned", [True, False])
def test_a_safety_stop_counts_also_where_an_episode_is_no_evidence(tmp_path: Path, pinned: bool) -> None:
    """Of a robot that is pinned to the candidate, or of an episode that ran the candidate after another policy."""
    with ledger_in(tmp_path) as ledger:
        equip(ledger)
        robot = ledger.robots()[0]
        reconcile.start(ledger, replace(PLAN, pins={robot.id: CANDIDATE} if pinned else {}), 10.0, "test")
        store = MemoryStore()
        given = ledger.assign_episode(robot.id, "red", "one", lambda situation: choose(situation, no_problem), 20.0)
        assert (given.arm, given.policy) == ("", CANDIDATE if pinned else CURRENT)
        accept(store, robot, given, success=False, stops=1, beside=() if pinned else (CANDIDATE,))
        found = look(ledger, store, [], 30.0)
        assert found.state.kind == "rolled_back"
        assert "1 safety stops under the candidate" in found.verdicts[-1].reason
        assert all(written == made for written, made in reconcile.replay(ledger, PLAN.id))
        assert reconcile.status(ledger, PLAN.id) == found


def test_a_safety_stop_under_the_current_policy_of_a_pinned_robot_is_not_the_candidate_s(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        equip(ledger)
        robot = ledger.robots()[0]
        reconcile.start(ledger, replace(PLAN, pins={robot.id: CURRENT}), 10.0, "test")
        store = MemoryStore()
        given = ledger.assign_episode(robot.id, "red", "one", lambda situation: choose(situation, no_problem), 20.0)
        accept(store, robot, given, success=False, stops=1)
        assert look(ledger, store, [], 30.0).verdicts[-1].kind == "hold"


class Killed(Exception):
    """What a dying ledger raises."""


class DyingLedger(Ledger):
    """Dies at its first step of a rollout, before or after it."""

    def __init__(self, url: str, *, after: bool) -> None:
        super().__init__(url)
        self._after = after

    def _dying(self, write: Any, *arguments: Any, **named: Any) -> Any:
        if self._after:
            write(*arguments, **named)
        raise Killed

    def advance_rollout(self, *arguments: Any, **named: Any) -> Any:
        return self._dying(super().advance_rollout, *arguments, **named)

    def end_rollout(self, *arguments: Any, **named: Any) -> Any:
        return self._dying(super().end_rollout, *arguments, **named)


@pytest.mark.parametrize("after", [False, True])
def test_a_look_killed_at_its_write_and_repeated_ends_as_one_that_was_not(tmp_path: Path, after: bool) -> None:
    with ledger_in(tmp_path / "whole") as ledger:
        prepare(ledger)
        whole = run(ledger, BETTER)
    with ledger_in(tmp_path / "killed") as ledger:
        prepare(ledger)
        store, lines, random = MemoryStore(), [], Random(7)
        for number in range(len(whole.verdicts)):
            lines += day(ledger, store, number, BETTER, random)
            now = 100.0 * number + 199.0
            if number == len(whole.verdicts) - 1:
                url = f"sqlite:///{tmp_path / 'killed' / 'ledger.db'}"
                with DyingLedger(url, after=after) as dying, suppress(Killed):
                    look(dying, store, lines, now)
                    pytest.fail("it was to die")
            found = look(ledger, store, lines, now)
        assert found == whole
        assert ledger.current_policies() == {SCOUTS: CANDIDATE, GLIDERS: CANDIDATE}
        assert look(ledger, store, lines, now + 1.0) == whole, "a rollout that has ended is judged no more"


def test_two_lookers_at_once_make_one_step(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        prepare(ledger)
        store = MemoryStore()
        lines = day(ledger, store, 0, BETTER, Random(1))

        class Watched(MemoryStore):
            """While its catalogue is listed, somebody else looks."""

            def list(self, prefix: str) -> Any:
                if prefix.startswith(EPISODES.prefix):
                    look(ledger, store, lines, 150.0)
                return super().list(prefix)

        watched = Watched()
        watched.objects = store.objects
        with pytest.raises(LedgerError, match="another step was taken"):
            look(ledger, watched, lines, 151.0)
        assert len(reconcile.status(ledger, PLAN.id).verdicts) == 1


def test_an_episode_that_never_arrives_is_evidence_after_a_while_and_is_corrected_when_it_does(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        prepare(ledger)
        store, random, lines = MemoryStore(), Random(1), []
        for number in range(3):  # into the canary step, in which episodes are measured
            lines += day(ledger, store, number, BETTER, random)
            look(ledger, store, lines, 100.0 * number + 199.0)
        lost = robot_and_assignment(ledger, "red-lost", 1000.0)
        assert key(lost) not in looked(ledger, store, lines, 1001.0, missing_after_s=60.0)
        missing = looked(ledger, store, lines, 1100.0, missing_after_s=60.0)[key(lost)]
        assert (missing.success, missing.policy) == (None, "")
        accept(store, lost[0], lost[1], success=True)
        late = looked(ledger, store, lines, 1200.0, missing_after_s=60.0)[key(lost)]
        assert (late.success, late.policy) == (True, lost[1].policy)


def test_an_episode_that_the_expert_finished_is_no_success(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        prepare(ledger)
        store, random, lines = MemoryStore(), Random(1), []
        for number in range(3):
            lines += day(ledger, store, number, BETTER, random)
            look(ledger, store, lines, 100.0 * number + 199.0)
        helped = robot_and_assignment(ledger, "red-helped", 1000.0)
        accept(store, helped[0], helped[1], success=False, helped=True)
        found = looked(ledger, store, lines, 1001.0)[key(helped)]
        assert (found.success, found.autonomous, found.interventions) == (False, False, 1)


def robot_and_assignment(ledger: Ledger, episode: str, at: float) -> tuple[Any, Any]:
    """A measured episode of the first robot that is exposed."""
    for robot in ledger.robots():
        given = ledger.assign_episode(robot.id, "red", episode, lambda s: choose(s, no_problem), at)
        if given.arm:
            return robot, given
    raise AssertionError("no robot is exposed")


def key(measured: tuple[Any, Any]) -> str:
    return f"{measured[0].id}/{measured[1].episode}"


def looked(
    ledger: Ledger, store: MemoryStore, lines: list[dict[str, object]], now: float, missing_after_s: float = 1e9
) -> dict[str, Outcome]:
    found = reconcile.look(ledger, store, PLAN.id, lines, missing_after_s=missing_after_s, now=now)
    return dict(found.evidence.outcomes)


def test_a_rollout_that_nobody_began_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger, pytest.raises(RolloutError, match="volano rollout start"):
        look(ledger, MemoryStore(), [], 1.0)


def test_a_policy_that_was_never_released_reaches_no_robot(tmp_path: Path) -> None:
    refused = manifest_of("refused", SCOUTS, GLIDERS)
    with ledger_in(tmp_path) as ledger:
        prepare(ledger)
        for registered in (False, True):
            if registered:
                release(ledger, refused, 3, status="refused")
            with pytest.raises(RolloutError, match="never released"):
                reconcile.start(ledger, replace(PLAN, id="rollout-2", candidate=refused.digest), 20.0, "test")


def test_a_policy_that_does_not_serve_an_embodiment_of_the_plan_is_refused(tmp_path: Path) -> None:
    narrow = manifest_of("narrow", SCOUTS)
    with ledger_in(tmp_path) as ledger:
        prepare(ledger)
        release(ledger, narrow, 3)
        with pytest.raises(RolloutError, match=f"does not serve .* {GLIDERS[:12]}"):
            reconcile.start(ledger, replace(PLAN, id="rollout-2", candidate=narrow.digest), 20.0, "test")


def test_a_promotion_is_taken_back_by_a_person_wherever_it_took_place(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        prepare(ledger)
        assert run(ledger, BETTER).state.kind == "promoted"
        found = reconcile.decide(ledger, PLAN.id, "rollback", operator="ada", reason="smoke", now=1e6)
        assert found.state.kind == "rolled_back"
        assert set(ledger.current_policies().values()) == {CURRENT}
        assert reconcile.status(ledger, PLAN.id) == found


@pytest.mark.parametrize("after", [False, True])
def test_a_rollback_killed_at_its_write_is_done_or_is_done_when_repeated(tmp_path: Path, after: bool) -> None:
    with ledger_in(tmp_path) as ledger:
        prepare(ledger)
        run(ledger, BETTER)
        with DyingLedger(ledger.url, after=after) as dying, pytest.raises(Killed):
            reconcile.decide(dying, PLAN.id, "rollback", operator="ada", reason="smoke", now=1e6)
        done = reconcile.status(ledger, PLAN.id).state.kind == "rolled_back"
        assert done is after
        assert set(ledger.current_policies().values()) == {CURRENT if done else CANDIDATE}
        if not done:
            reconcile.decide(ledger, PLAN.id, "rollback", operator="ada", reason="smoke", now=1e6 + 1)
        assert set(ledger.current_policies().values()) == {CURRENT}


def test_a_person_who_rolls_back_while_a_look_promotes_has_the_last_word(tmp_path: Path) -> None:
    with ledger_in(tmp_path / "whole") as ledger:
        prepare(ledger)
        number_of_looks = len(run(ledger, BETTER).verdicts)

    class Watched(MemoryStore):
        """While its catalogue is listed, a person rolls back."""

        def list(self, prefix: str) -> Any:
            if prefix.startswith(EPISODES.prefix):
                reconcile.decide(ledger, PLAN.id, "rollback", operator="ada", reason="smoke", now=1e6)
            return super().list(prefix)

    with ledger_in(tmp_path / "overtaken") as ledger:
        prepare(ledger)
        store, lines, random = MemoryStore(), [], Random(7)
        for number in range(number_of_looks):
            lines += day(ledger, store, number, BETTER, random)
            if number < number_of_looks - 1:
                look(ledger, store, lines, 100.0 * number + 199.0)
        watched = Watched()
        watched.objects = store.objects
        with pytest.raises(LedgerError, match="another step was taken"):
            look(ledger, watched, lines, 1e6 + 1)
        assert reconcile.status(ledger, PLAN.id).state.kind == "rolled_back"
        assert set(ledger.current_policies().values()) == {CURRENT}


def test_a_person_promotes_only_where_a_rollout_waits_for_one(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        prepare(ledger)
        store = MemoryStore()
        with pytest.raises(RolloutError, match="cannot promote by hand"):
            reconcile.decide(ledger, PLAN.id, "promote", operator="ada", reason="", now=20.0)
        waiting = look(ledger, store, [], 10.0 + PLAN.patience_s + 1)
        assert waiting.state.kind == "needs_human"
        found = reconcile.decide(ledger, PLAN.id, "promote", operator="ada", reason="seen enough", now=1e9)
        assert found.state.kind == "promoted"
        assert set(ledger.current_policies().values()) == {CANDIDATE}


def withdraw(ledger: Ledger, digest: str) -> None:
    record = ledger.policy(digest)
    assert record is not None
    ledger.put_policy(replace(record, status="withdrawn"), "test", 5.0)


def test_a_candidate_that_was_withdrawn_meanwhile_is_never_put_in_place(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        prepare(ledger)
        withdraw(ledger, CANDIDATE)
        with pytest.raises(RolloutError, match="not released any more"):
            run(ledger, BETTER)
        assert set(ledger.current_policies().values()) == {CURRENT}
        assert all(written == made for written, made in reconcile.replay(ledger, PLAN.id))
        look(ledger, MemoryStore(), [], 10.0 + 1e6 * PLAN.patience_s)
        with pytest.raises(RolloutError, match="not released any more"):
            reconcile.decide(ledger, PLAN.id, "promote", operator="ada", reason="", now=1e13)
        found = reconcile.decide(ledger, PLAN.id, "rollback", operator="ada", reason="withdrawn", now=1e13)
        assert found.state.kind == "rolled_back"


def test_a_rollback_puts_no_policy_in_place_that_was_withdrawn_but_ends_a_rollout_that_moves_none(
    tmp_path: Path,
) -> None:
    for name, promoted in (("promoted", True), ("running", False)):
        with ledger_in(tmp_path / name) as ledger:
            prepare(ledger)
            if promoted:
                run(ledger, BETTER)
            withdraw(ledger, CURRENT)
            if promoted:
                with pytest.raises(RolloutError, match="not released any more"):
                    reconcile.decide(ledger, PLAN.id, "rollback", operator="ada", reason="", now=1e6)
                assert set(ledger.current_policies().values()) == {CANDIDATE}
            else:
                found = reconcile.decide(ledger, PLAN.id, "rollback", operator="ada", reason="", now=1e6)
                assert found.state.kind == "rolled_back"
